// Everything that Batchledger needs in one resource group, and a second group that holds nothing but the scale sets of pools.
// No key is a parameter, a setting or an output: whoever calls is known by identity. Roles stand beside what they open.
// azuredeploy.json is compiled from this file (build.mjs); edit here.
targetScope = 'resourceGroup'

@description('Begins the names of all resources: a letter, then letters, digits and single dashes.')
@minLength(3)
@maxLength(12)
param name string = 'ledger'

@description('Where everything lives. Flex Consumption must be offered there.')
param location string = resourceGroup().location

@description('The first Batch account: 3 to 24 of a-z and 0-9. Its keys are made after the deployment, see README.md.')
@minLength(3)
@maxLength(24)
param accountName string = 'batch'

@description('Node on Functions. 24 is generally available on Functions 4; 22 is the one before.')
@allowed(['24', '22'])
param nodeVersion string = '24'

@description('Address of a package of the app (zip) that is deployed at once; empty: deploy it afterwards. Choose one with a version in it.')
param packageUrl string = ''

@description('Memory of an instance of the app, in MB.')
@allowed([2048, 4096])
param instanceMemoryMB int = 2048

@description('Instances of the app at most.')
@minValue(40)
@maxValue(1000)
param instancesMax int = 40

@description('Serverless: paid by request unit, nothing when idle. Autoscale: up to a bound that is always ready.')
@allowed(['serverless', 'autoscale'])
param cosmosCapacity string = 'serverless'

@description('The bound of autoscale, in request units a second; a tenth of it is always paid for.')
@minValue(1000)
param cosmosThroughputMax int = 10000

@description('Queues of this namespace that submissions by message may name for their answers.')
param replyQueues array = ['replies']

@description('TVMs of one pool at most.')
@minValue(1)
@maxValue(1000)
param poolTvmsMax int = 64

@description('Quota of one account: pools.')
@minValue(1)
param poolsMax int = 100

@description('Quota of one account: cores of all its TVMs.')
@minValue(1)
param coresMax int = 640

@description('Quota of one account: active work items.')
@minValue(1)
param workItemsMax int = 10000

@description('Tasks may ask to run as the agent\'s own user.')
param allowElevated bool = false

@description('Image of TVMs: publisher:offer:sku:version.')
param tvmImage string = 'Canonical:ubuntu-24_04-lts:server:latest'

@description('Https address of the node agent (tar.gz) that TVMs install; empty: pools cannot get TVMs yet.')
param agentUrl string = ''

@description('SHA-256 of the node agent\'s package, in hexadecimal.')
param agentSha256 string = ''

@description('Https address of the Node (tar.gz of the platform of the image) that TVMs install for the agent; empty: pools cannot get TVMs yet.')
param tvmNodeUrl string = ''

@description('SHA-256 of that Node\'s package, in hexadecimal.')
param tvmNodeSha256 string = ''

@description('The resource group of the scale sets. It is made if it is missing and should hold nothing else.')
param poolsResourceGroup string = '${resourceGroup().name}-pools'

@description('Address space of the network: a /16. Pools get a /18 each, with and without communication between TVMs.')
param addressPrefix string = '10.40.0.0/16'

@description('Cosmos DB, Service Bus (then Premium), storage and the vault can be reached from the network alone.')
param privateEndpoints bool = false

@description('Object id of the person or group who makes and rotates the keys in the vault; by default whoever deploys.')
param operatorObjectId string = deployer().objectId

@description('Who is told of alerts by mail; empty: alerts show in the portal only.')
param alertEmail string = ''

@description('Put on every resource.')
param tags object = {}

var shortName = toLower(name)
var suffix = uniqueString(resourceGroup().id, shortName)
var base = '${shortName}-${suffix}'
var allTags = union({ application: 'batchledger' }, tags)
var vnetName = '${base}-net'

// The service is one identity. TVMs have none: they get a one-time join code and with it a credential for their own attempts.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${base}-service'
  location: location
  tags: allTags
}

module network 'network.bicep' = {
  name: 'batchledger-network'
  params: {
    base: base
    vnetName: vnetName
    location: location
    tags: allTags
    addressPrefix: addressPrefix
    principalId: identity.properties.principalId
  }
}

module monitor 'monitor.bicep' = {
  name: 'batchledger-monitor'
  params: {
    base: base
    location: location
    tags: allTags
    principalId: identity.properties.principalId
    alertEmail: alertEmail
    serviceBusName: data.outputs.serviceBusName
    vaultName: data.outputs.vaultName
  }
}

module data 'data.bicep' = {
  name: 'batchledger-data'
  params: {
    base: base
    filesName: take('${replace(shortName, '-', '')}files${suffix}', 24)
    vaultName: take(base, 24)
    location: location
    tags: allTags
    principalId: identity.properties.principalId
    operatorObjectId: operatorObjectId
    cosmosCapacity: cosmosCapacity
    cosmosThroughputMax: cosmosThroughputMax
    replyQueues: replyQueues
    privateEndpoints: privateEndpoints
  }
}

module app 'app.bicep' = {
  name: 'batchledger-app'
  params: {
    base: base
    hostStorageName: take('${replace(shortName, '-', '')}host${suffix}', 24)
    location: location
    tags: allTags
    identityId: identity.id
    identityClientId: identity.properties.clientId
    principalId: identity.properties.principalId
    nodeVersion: nodeVersion
    packageUrl: packageUrl
    instanceMemoryMB: instanceMemoryMB
    instancesMax: instancesMax
    privateEndpoints: privateEndpoints
    functionsSubnetId: network.outputs.functionsSubnetId
    insightsName: monitor.outputs.insightsName
    settings: {
      Cosmos__accountEndpoint: data.outputs.cosmosEndpoint
      ServiceBus__fullyQualifiedNamespace: data.outputs.serviceBusNamespace
      BATCHLEDGER_ACCOUNT: accountName
      BATCHLEDGER_FILES_URL: data.outputs.filesUrl
      BATCHLEDGER_VAULT_URL: data.outputs.vaultUrl
      BATCHLEDGER_SUBSCRIPTION: subscription().subscriptionId
      BATCHLEDGER_LOCATION: location
      BATCHLEDGER_POOLS_GROUP: poolsResourceGroup
      BATCHLEDGER_POOL_SUBNET: network.outputs.isolatedSubnetId
      BATCHLEDGER_POOL_SUBNET_COMMUNICATING: network.outputs.communicatingSubnetId
      BATCHLEDGER_POOL_TVMS_MAX: string(poolTvmsMax)
      BATCHLEDGER_POOLS_MAX: string(poolsMax)
      BATCHLEDGER_CORES_MAX: string(coresMax)
      BATCHLEDGER_WORK_ITEMS_MAX: string(workItemsMax)
      BATCHLEDGER_ALLOW_ELEVATED: string(allowElevated)
      BATCHLEDGER_TVM_IMAGE: tvmImage
      BATCHLEDGER_AGENT_URL: agentUrl
      BATCHLEDGER_AGENT_SHA256: agentSha256
      BATCHLEDGER_NODE_URL: tvmNodeUrl
      BATCHLEDGER_NODE_SHA256: tvmNodeSha256
    }
  }
}

module poolsGroup 'poolsGroup.bicep' = {
  name: 'batchledger-pools-group-${suffix}'
  scope: subscription()
  params: {
    groupName: poolsResourceGroup
    location: location
    tags: allTags
  }
}

module tvms 'tvms.bicep' = {
  name: 'batchledger-tvms'
  scope: resourceGroup(poolsResourceGroup)
  dependsOn: [poolsGroup]
  params: {
    base: base
    principalId: identity.properties.principalId
  }
}

module endpoints 'endpoints.bicep' = if (privateEndpoints) {
  name: 'batchledger-endpoints'
  params: {
    base: base
    location: location
    tags: allTags
    vnetId: network.outputs.vnetId
    subnetId: network.outputs.endpointsSubnetId
    cosmosId: data.outputs.cosmosId
    serviceBusId: data.outputs.serviceBusId
    vaultId: data.outputs.vaultId
    filesId: data.outputs.filesId
    hostStorageId: app.outputs.hostStorageId
  }
}

@description('Where clients point to: the account endpoint.')
output url string = app.outputs.url
output functionAppName string = app.outputs.functionAppName
output vaultName string = data.outputs.vaultName
output serviceBusName string = data.outputs.serviceBusName
output poolsResourceGroup string = poolsResourceGroup
