// For azd, which deploys to a subscription: makes the resource group and puts main.bicep into it.
targetScope = 'subscription'

@description('Name of the azd environment; the resource group is named after it.')
@minLength(1)
@maxLength(64)
param environmentName string

@metadata({ azd: { type: 'location' } })
param location string

@description('Object id of whoever runs azd: makes the keys in the vault.')
param principalId string

@description('Https addresses and SHA-256 of the node agent and its Node, see README.md.')
param agentUrl string = ''
param agentSha256 string = ''
param tvmNodeUrl string = ''
param tvmNodeSha256 string = ''

param alertEmail string = ''

var tags = { 'azd-env-name': environmentName }

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module main 'main.bicep' = {
  name: 'batchledger'
  scope: group
  params: {
    location: location
    operatorObjectId: principalId
    agentUrl: agentUrl
    agentSha256: agentSha256
    tvmNodeUrl: tvmNodeUrl
    tvmNodeSha256: tvmNodeSha256
    alertEmail: alertEmail
    tags: tags
  }
}

output AZURE_RESOURCE_GROUP string = group.name
output BATCHLEDGER_URL string = main.outputs.url
output BATCHLEDGER_FUNCTION_APP string = main.outputs.functionAppName
output BATCHLEDGER_VAULT string = main.outputs.vaultName
