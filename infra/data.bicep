// What the service keeps: events and views on Cosmos DB, messages on Service Bus, users' files on Blob storage, keys and
// certificates in Key Vault. None of them takes a key from anyone.
targetScope = 'resourceGroup'

param base string
param filesName string
param vaultName string
param location string
param tags object
param principalId string
param operatorObjectId string
param cosmosCapacity string
param cosmosThroughputMax int
param replyQueues array
param privateEndpoints bool

var publicAccess = privateEndpoints ? 'Disabled' : 'Enabled'
var serverless = cosmosCapacity == 'serverless'

var roles = {
  blobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  serviceBusDataReceiver: '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'
  serviceBusDataSender: '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
  keyVaultSecretsOfficer: 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'
  keyVaultCertificatesOfficer: 'a4417e6f-fecd-4de8-b567-7b0420556985'
}

// ---------------------------------------------------------------- Cosmos DB

resource cosmos 'Microsoft.DocumentDB/databaseAccounts@2024-11-15' = {
  name: base
  location: location
  tags: tags
  kind: 'GlobalDocumentDB'
  properties: {
    databaseAccountOfferType: 'Standard'
    locations: [{ locationName: location, failoverPriority: 0 }]
    consistencyPolicy: { defaultConsistencyLevel: 'Session' }
    capabilities: serverless ? [{ name: 'EnableServerless' }] : []
    backupPolicy: { type: 'Continuous', continuousModeProperties: { tier: 'Continuous7Days' } }
    disableLocalAuth: true
    disableKeyBasedMetadataWriteAccess: true
    minimalTlsVersion: 'Tls12'
    publicNetworkAccess: publicAccess
  }
}

resource database 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases@2024-11-15' = {
  parent: cosmos
  name: 'batchledger'
  properties: {
    resource: { id: 'batchledger' }
    options: serverless ? {} : { autoscaleSettings: { maxThroughput: cosmosThroughputMax } }
  }
}

// A document a commit. Each indexed value costs on every write: only the partition key is one.
resource events 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers@2024-11-15' = {
  parent: database
  name: 'events'
  properties: {
    resource: {
      id: 'events'
      partitionKey: { paths: ['/p'], kind: 'Hash', version: 2 }
      indexingPolicy: {
        indexingMode: 'consistent'
        automatic: true
        includedPaths: [{ path: '/p/?' }]
        excludedPaths: [{ path: '/*' }]
      }
    }
  }
}

// A document a row; its index values lie below /x.
resource views 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers@2024-11-15' = {
  parent: database
  name: 'views'
  properties: {
    resource: {
      id: 'views'
      partitionKey: { paths: ['/p'], kind: 'Hash', version: 2 }
      indexingPolicy: {
        indexingMode: 'consistent'
        automatic: true
        includedPaths: [{ path: '/p/?' }, { path: '/x/*' }]
        excludedPaths: [{ path: '/*' }]
      }
    }
  }
}

// How far the trigger has read the feed of events.
resource leases 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers@2024-11-15' = {
  parent: database
  name: 'leases'
  properties: {
    resource: {
      id: 'leases'
      partitionKey: { paths: ['/id'], kind: 'Hash', version: 2 }
    }
  }
}

resource metadataReader 'Microsoft.DocumentDB/databaseAccounts/sqlRoleDefinitions@2024-11-15' = {
  parent: cosmos
  name: guid(cosmos.id, 'metadataReader')
  properties: {
    roleName: 'Batchledger metadata reader'
    type: 'CustomRole'
    assignableScopes: [cosmos.id]
    permissions: [{ dataActions: ['Microsoft.DocumentDB/databaseAccounts/readMetadata'] }]
  }
}

// Without replace and upsert: a stored commit cannot be changed even by the service.
resource eventKeeper 'Microsoft.DocumentDB/databaseAccounts/sqlRoleDefinitions@2024-11-15' = {
  parent: cosmos
  name: guid(cosmos.id, 'eventKeeper')
  properties: {
    roleName: 'Batchledger event keeper'
    type: 'CustomRole'
    assignableScopes: [cosmos.id]
    permissions: [
      {
        dataActions: [
          'Microsoft.DocumentDB/databaseAccounts/readMetadata'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/executeQuery'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/readChangeFeed'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/create'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/read'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/delete'
        ]
      }
    ]
  }
}

resource rowKeeper 'Microsoft.DocumentDB/databaseAccounts/sqlRoleDefinitions@2024-11-15' = {
  parent: cosmos
  name: guid(cosmos.id, 'rowKeeper')
  properties: {
    roleName: 'Batchledger row keeper'
    type: 'CustomRole'
    assignableScopes: [cosmos.id]
    permissions: [
      {
        dataActions: [
          'Microsoft.DocumentDB/databaseAccounts/readMetadata'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/executeQuery'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/create'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/read'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/replace'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/upsert'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/delete'
        ]
      }
    ]
  }
}

// Reason: the SDK and the trigger ask the account for its regions and the database for its containers before anything else.
resource metadataReaderRole 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2024-11-15' = {
  parent: cosmos
  name: guid(cosmos.id, principalId, 'metadataReader')
  properties: {
    principalId: principalId
    roleDefinitionId: metadataReader.id
    scope: cosmos.id
  }
}

// Reason: commits are appended, loaded, fed on, and forgotten with their job.
resource eventKeeperRole 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2024-11-15' = {
  parent: cosmos
  name: guid(cosmos.id, principalId, 'eventKeeper')
  properties: {
    principalId: principalId
    roleDefinitionId: eventKeeper.id
    scope: '${cosmos.id}/dbs/${database.name}/colls/${events.name}'
  }
}

// Reason: rows and counters are written, listed and forgotten.
resource viewKeeperRole 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2024-11-15' = {
  parent: cosmos
  name: guid(cosmos.id, principalId, 'viewKeeper')
  properties: {
    principalId: principalId
    roleDefinitionId: rowKeeper.id
    scope: '${cosmos.id}/dbs/${database.name}/colls/${views.name}'
  }
}

// Reason: the trigger takes, renews and moves its leases.
resource leaseKeeperRole 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2024-11-15' = {
  parent: cosmos
  name: guid(cosmos.id, principalId, 'leaseKeeper')
  properties: {
    principalId: principalId
    roleDefinitionId: rowKeeper.id
    scope: '${cosmos.id}/dbs/${database.name}/colls/${leases.name}'
  }
}

// ---------------------------------------------------------------- Service Bus

resource bus 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: '${base}-bus'
  location: location
  tags: tags
  // Private endpoints need Premium.
  sku: privateEndpoints ? { name: 'Premium', tier: 'Premium', capacity: 1 } : { name: 'Standard', tier: 'Standard' }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: publicAccess
  }
}

// Submissions: a sender that did not hear an answer may send the same message id again.
resource commands 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: bus
  name: 'commands'
  properties: {
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'PT10M'
    requiresSession: false
    maxDeliveryCount: 10
    lockDuration: 'PT1M'
    defaultMessageTimeToLive: 'P14D'
    deadLetteringOnMessageExpiration: true
  }
}

// Reports of agents: one that was sent twice would change nothing and cost a load each time.
resource reports 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: bus
  name: 'reports'
  properties: {
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'PT10M'
    requiresSession: false
    maxDeliveryCount: 10
    lockDuration: 'PT1M'
    defaultMessageTimeToLive: 'P14D'
    deadLetteringOnMessageExpiration: true
  }
}

// Wakes: a session is a pool, so that placement runs one at a time. Hints, repeated by the sweep: an old one is worth nothing,
// and two are as good as one.
resource wakes 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: bus
  name: 'wakes'
  properties: {
    requiresDuplicateDetection: false
    requiresSession: true
    maxDeliveryCount: 10
    lockDuration: 'PT1M'
    defaultMessageTimeToLive: 'PT1H'
    deadLetteringOnMessageExpiration: false
  }
}

// Hints between the copies of the app: a session is a copy. One that comes late is worth nothing.
resource signals 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: bus
  name: 'signals'
  properties: {
    requiresDuplicateDetection: false
    requiresSession: true
    maxDeliveryCount: 10
    lockDuration: 'PT1M'
    defaultMessageTimeToLive: 'PT10S'
    deadLetteringOnMessageExpiration: false
  }
}

// Every domain event, for others to subscribe to. Its id depends on the event alone: published again, it is a duplicate.
resource eventsTopic 'Microsoft.ServiceBus/namespaces/topics@2024-01-01' = {
  parent: bus
  name: 'events'
  properties: {
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'PT10M'
    defaultMessageTimeToLive: 'P7D'
    supportOrdering: true
  }
}

resource replies 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = [
  for queue in replyQueues: {
    parent: bus
    name: queue
    properties: {
      requiresSession: false
      maxDeliveryCount: 10
      lockDuration: 'PT1M'
      defaultMessageTimeToLive: 'P1D'
      deadLetteringOnMessageExpiration: false
    }
  }
]

// Reason: the function onCommand receives submissions, and the API shows their dead letters.
resource receiveCommandsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(commands.id, principalId, roles.serviceBusDataReceiver)
  scope: commands
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataReceiver)
  }
}

// Reason: the API accepts submissions by HTTP that are then handled as messages.
resource sendCommandsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(commands.id, principalId, roles.serviceBusDataSender)
  scope: commands
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
  }
}

// Reason: the function onReports receives what agents report.
resource receiveReportsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(reports.id, principalId, roles.serviceBusDataReceiver)
  scope: reports
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataReceiver)
  }
}

// Reason: an exchange puts the reports of its agent on the queue.
resource sendReportsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(reports.id, principalId, roles.serviceBusDataSender)
  scope: reports
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
  }
}

// Reason: the function schedulePool receives the wakes of a pool.
resource receiveWakesRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(wakes.id, principalId, roles.serviceBusDataReceiver)
  scope: wakes
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataReceiver)
  }
}

// Reason: whatever may let a task be placed wakes its pool.
resource sendWakesRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(wakes.id, principalId, roles.serviceBusDataSender)
  scope: wakes
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
  }
}

// Reason: each copy of the app receives the hints that are for it.
resource receiveSignalsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(signals.id, principalId, roles.serviceBusDataReceiver)
  scope: signals
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataReceiver)
  }
}

// Reason: whoever has news for a TVM tells the copy where the TVM waits.
resource sendSignalsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(signals.id, principalId, roles.serviceBusDataSender)
  scope: signals
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
  }
}

// Reason: domain events are published for subscribers.
resource sendEventsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(eventsTopic.id, principalId, roles.serviceBusDataSender)
  scope: eventsTopic
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
  }
}

// Reason: submissions by message are answered on the queue that they name.
resource sendRepliesRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (queue, index) in replyQueues: {
    name: guid(bus.id, queue, principalId, roles.serviceBusDataSender)
    scope: replies[index]
    properties: {
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.serviceBusDataSender)
    }
  }
]

// ---------------------------------------------------------------- files

// Users' files, apart from what the Functions runtime keeps: an address signed for a TVM can never reach the app's own package.
resource files 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: filesName
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
    publicNetworkAccess: publicAccess
    networkAcls: { defaultAction: privateEndpoints ? 'Deny' : 'Allow', bypass: 'None' }
  }
}

// Ranges of live TVMs' files on their way to a reader: the service removes them within the hour, this removes what it missed.
resource filesLifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2024-01-01' = {
  parent: files
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'exchanged-uploads'
          type: 'Lifecycle'
          enabled: true
          definition: {
            filters: { blobTypes: ['blockBlob'], prefixMatch: ['exchange/'] }
            actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: 1 } } }
          }
        }
      ]
    }
  }
}

// Reason: containers and blobs are made, read and removed, and addresses signed with a user delegation key, which only a role
// on the whole account may ask for.
resource filesRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(files.id, principalId, roles.blobDataContributor)
  scope: files
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobDataContributor)
  }
}

// ---------------------------------------------------------------- keys and certificates

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: vaultName
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: publicAccess
    networkAcls: { defaultAction: privateEndpoints ? 'Deny' : 'Allow', bypass: 'None' }
  }
}

// Reason: the service reads account keys, the sealing key, and the private part of certificates that a TVM's pool lists.
resource readSecretsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, principalId, roles.keyVaultSecretsUser)
  scope: vault
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
  }
}

// Reason: users add and delete certificates by the API. It reads no private part.
resource keepCertificatesRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, principalId, roles.keyVaultCertificatesOfficer)
  scope: vault
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultCertificatesOfficer)
  }
}

// Reason: a person makes and rotates the keys; no template does, so that no key passes through a deployment's history.
resource makeKeysRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, operatorObjectId, roles.keyVaultSecretsOfficer)
  scope: vault
  properties: {
    principalId: operatorObjectId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsOfficer)
  }
}

output cosmosId string = cosmos.id
output cosmosEndpoint string = cosmos.properties.documentEndpoint
output serviceBusId string = bus.id
output serviceBusName string = bus.name
output serviceBusNamespace string = '${bus.name}.servicebus.windows.net'
output filesId string = files.id
output filesUrl string = files.properties.primaryEndpoints.blob
output vaultId string = vault.id
output vaultName string = vault.name
output vaultUrl string = vault.properties.vaultUri
