// Private endpoints of everything that keeps data, with the names that resolve to them inside the network.
targetScope = 'resourceGroup'

param base string
param location string
param tags object
param vnetId string
param subnetId string
param cosmosId string
param serviceBusId string
param vaultId string
param filesId string
param hostStorageId string

var targets = [
  { name: 'cosmos', id: cosmosId, group: 'Sql', zone: 0 }
  { name: 'bus', id: serviceBusId, group: 'namespace', zone: 1 }
  { name: 'vault', id: vaultId, group: 'vault', zone: 2 }
  { name: 'files-blob', id: filesId, group: 'blob', zone: 3 }
  { name: 'host-blob', id: hostStorageId, group: 'blob', zone: 3 }
  { name: 'host-queue', id: hostStorageId, group: 'queue', zone: 4 }
  { name: 'host-table', id: hostStorageId, group: 'table', zone: 5 }
]

var zoneNames = [
  'privatelink.documents.azure.com'
  'privatelink.servicebus.windows.net'
  'privatelink.vaultcore.azure.net'
  'privatelink.blob.${environment().suffixes.storage}'
  'privatelink.queue.${environment().suffixes.storage}'
  'privatelink.table.${environment().suffixes.storage}'
]

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in zoneNames: {
    name: zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zone, index) in zoneNames: {
    parent: zones[index]
    name: '${base}-net'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: { id: vnetId }
    }
  }
]

resource endpoints 'Microsoft.Network/privateEndpoints@2024-05-01' = [
  for target in targets: {
    name: '${base}-${target.name}'
    location: location
    tags: tags
    properties: {
      subnet: { id: subnetId }
      privateLinkServiceConnections: [
        {
          name: target.name
          properties: { privateLinkServiceId: target.id, groupIds: [target.group] }
        }
      ]
    }
  }
]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = [
  for (target, index) in targets: {
    parent: endpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [{ name: target.name, properties: { privateDnsZoneId: zones[target.zone].id } }]
    }
  }
]
