// The network: TVMs of pools without and with communication, the app's own way in, and private endpoints. Nobody connects to a
// TVM from outside; TVMs reach the service and their files by HTTPS, outward.
targetScope = 'resourceGroup'

param base string
param vnetName string
param location string
param tags object
param addressPrefix string
param principalId string

var isolatedPrefix = cidrSubnet(addressPrefix, 18, 0)
var communicatingPrefix = cidrSubnet(addressPrefix, 18, 1)
var functionsPrefix = cidrSubnet(addressPrefix, 26, 512)
var endpointsPrefix = cidrSubnet(addressPrefix, 26, 513)

// What TVMs of both kinds may reach inside the network: private endpoints, by HTTPS. The internet stays open outward (resource
// files, packages); what is not said here is the platform's own default.
var toEndpoints = {
  name: 'to-private-endpoints'
  properties: {
    priority: 100
    direction: 'Outbound'
    access: 'Allow'
    protocol: 'Tcp'
    sourceAddressPrefix: '*'
    sourcePortRange: '*'
    destinationAddressPrefix: endpointsPrefix
    destinationPortRange: '443'
  }
}
var nothingElseInside = {
  name: 'nothing-else-inside'
  properties: {
    priority: 4000
    direction: 'Outbound'
    access: 'Deny'
    protocol: '*'
    sourceAddressPrefix: '*'
    sourcePortRange: '*'
    destinationAddressPrefix: 'VirtualNetwork'
    destinationPortRange: '*'
  }
}
var nobodyComesIn = {
  name: 'nobody-comes-in'
  properties: {
    priority: 4000
    direction: 'Inbound'
    access: 'Deny'
    protocol: '*'
    sourceAddressPrefix: '*'
    sourcePortRange: '*'
    destinationAddressPrefix: '*'
    destinationPortRange: '*'
  }
}

resource isolatedRules 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: '${base}-isolated'
  location: location
  tags: tags
  properties: {
    securityRules: [toEndpoints, nothingElseInside, nobodyComesIn]
  }
}

// TVMs of a pool with communication accept connections on ports above 1100, from their own subnet alone.
resource communicatingRules 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: '${base}-communicating'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'among-tvms-in'
        properties: {
          priority: 200
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: communicatingPrefix
          sourcePortRange: '*'
          destinationAddressPrefix: communicatingPrefix
          destinationPortRange: '1101-65535'
        }
      }
      {
        name: 'among-tvms-out'
        properties: {
          priority: 200
          direction: 'Outbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: communicatingPrefix
          sourcePortRange: '*'
          destinationAddressPrefix: communicatingPrefix
          destinationPortRange: '1101-65535'
        }
      }
      toEndpoints
      nothingElseInside
      nobodyComesIn
    ]
  }
}

resource endpointsRules 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: '${base}-endpoints'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'https-and-amqp'
        properties: {
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: 'VirtualNetwork'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRanges: ['443', '5671']
        }
      }
      nobodyComesIn
    ]
  }
}

resource outwardAddress 'Microsoft.Network/publicIPAddresses@2024-05-01' = {
  name: '${base}-outward'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static' }
}

// TVMs have no address of their own on the internet; this is their only way out.
resource outward 'Microsoft.Network/natGateways@2024-05-01' = {
  name: '${base}-outward'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: {
    idleTimeoutInMinutes: 10
    publicIpAddresses: [{ id: outwardAddress.id }]
  }
}

resource vnet 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: vnetName
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: [addressPrefix] }
    subnets: [
      {
        name: 'pools-isolated'
        properties: {
          addressPrefix: isolatedPrefix
          defaultOutboundAccess: false
          natGateway: { id: outward.id }
          networkSecurityGroup: { id: isolatedRules.id }
        }
      }
      {
        name: 'pools-communicating'
        properties: {
          addressPrefix: communicatingPrefix
          defaultOutboundAccess: false
          natGateway: { id: outward.id }
          networkSecurityGroup: { id: communicatingRules.id }
        }
      }
      {
        name: 'functions'
        properties: {
          addressPrefix: functionsPrefix
          delegations: [{ name: 'flex', properties: { serviceName: 'Microsoft.App/environments' } }]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointsPrefix
          networkSecurityGroup: { id: endpointsRules.id }
          privateEndpointNetworkPolicies: 'NetworkSecurityGroupEnabled'
        }
      }
    ]
  }

  resource isolated 'subnets' existing = {
    name: 'pools-isolated'
  }
  resource communicating 'subnets' existing = {
    name: 'pools-communicating'
  }
  resource functions 'subnets' existing = {
    name: 'functions'
  }
  resource endpoints 'subnets' existing = {
    name: 'endpoints'
  }
}

// Network Contributor would do too, and would let the service rewrite the rules above.
resource subnetJoiner 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, base, 'subnetJoiner')
  properties: {
    roleName: 'Batchledger subnet joiner (${base})'
    description: 'Puts machines into a subnet.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [{ actions: ['Microsoft.Network/virtualNetworks/subnets/join/action'] }]
  }
}

// Reason: a scale set of a pool without communication is put into this subnet.
resource joinIsolatedRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vnet::isolated.id, principalId, 'subnetJoiner')
  scope: vnet::isolated
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subnetJoiner.id
  }
}

// Reason: a scale set of a pool with communication is put into this subnet.
resource joinCommunicatingRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vnet::communicating.id, principalId, 'subnetJoiner')
  scope: vnet::communicating
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subnetJoiner.id
  }
}

output vnetId string = vnet.id
output isolatedSubnetId string = vnet::isolated.id
output communicatingSubnetId string = vnet::communicating.id
output functionsSubnetId string = vnet::functions.id
output endpointsSubnetId string = vnet::endpoints.id
