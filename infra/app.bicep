// The function app on Flex Consumption, and the storage that the Functions runtime and Durable Functions keep their own state in.
targetScope = 'resourceGroup'

param base string
param hostStorageName string
param location string
param tags object
param identityId string
param identityClientId string
param principalId string
param nodeVersion string
param packageUrl string
param instanceMemoryMB int
param instancesMax int
param privateEndpoints bool
param functionsSubnetId string
param insightsName string
@description('Settings of the app besides the ones of the runtime. No value is a secret.')
param settings object

var appName = '${base}-app'
var url = 'https://${appName}.azurewebsites.net'

var roles = {
  blobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  queueDataContributor: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  tableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource hostStorage 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: hostStorageName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    accessTier: 'Hot'
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    supportsHttpsTrafficOnly: true
    minimumTlsVersion: 'TLS1_2'
    publicNetworkAccess: privateEndpoints ? 'Disabled' : 'Enabled'
    networkAcls: { defaultAction: privateEndpoints ? 'Deny' : 'Allow', bypass: 'None' }
  }
}

resource hostBlobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: hostStorage
  name: 'default'
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: hostBlobs
  name: 'packages'
  properties: { publicAccess: 'None' }
}

// Reason: the runtime keeps its locks and keys, the deployment its packages, Durable Functions its leases and large payloads.
resource hostBlobsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(hostStorage.id, principalId, roles.blobDataOwner)
  scope: hostStorage
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobDataOwner)
  }
}

// Reason: Durable Functions sends its control and work messages through queues.
resource hostQueuesRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(hostStorage.id, principalId, roles.queueDataContributor)
  scope: hostStorage
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.queueDataContributor)
  }
}

// Reason: Durable Functions keeps the histories of its instances in tables.
resource hostTablesRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(hostStorage.id, principalId, roles.tableDataContributor)
  scope: hostStorage
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.tableDataContributor)
  }
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: '${base}-plan'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

resource functionApp 'Microsoft.Web/sites@2024-04-01' = {
  name: appName
  location: location
  tags: union(tags, { 'azd-service-name': 'app' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: privateEndpoints ? functionsSubnetId : null
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      remoteDebuggingEnabled: false
      http20Enabled: true
    }
    functionAppConfig: {
      runtime: { name: 'node', version: nodeVersion }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: instancesMax
        // Most requests are exchanges of agents that wait for news: a TVM holds one all the time.
        triggers: { http: { perInstanceConcurrency: 200 } }
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${hostStorage.properties.primaryEndpoints.blob}${packages.name}'
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: identityId }
        }
      }
    }
  }
  // The app starts when it is made: its identity should be let in by then.
  dependsOn: [hostBlobsRole, hostQueuesRole, hostTablesRole]

  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }
}

// Flex Consumption takes the runtime and its version from functionAppConfig: FUNCTIONS_WORKER_RUNTIME is refused there.
resource appSettings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: functionApp
  name: 'appsettings'
  properties: union(settings, {
    AzureWebJobsStorage__accountName: hostStorage.name
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: identityClientId
    Cosmos__credential: 'managedidentity'
    Cosmos__clientId: identityClientId
    ServiceBus__credential: 'managedidentity'
    ServiceBus__clientId: identityClientId
    AZURE_CLIENT_ID: identityClientId
    APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
    BATCHLEDGER_URL: url
  })
}

// Only with packageUrl. Dependencies are installed where the package goes.
resource package 'Microsoft.Web/sites/extensions@2024-04-01' = if (!empty(packageUrl)) {
  parent: functionApp
  name: 'onedeploy'
  dependsOn: [appSettings]
  #disable-next-line BCP187 // The published types lack it; the platform's documentation has it.
  properties: {
    packageUri: packageUrl
    remoteBuild: true
  }
}

output functionAppName string = functionApp.name
output url string = url
output hostStorageId string = hostStorage.id
