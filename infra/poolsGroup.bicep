// The resource group of the scale sets. It holds nothing but them, so that a role on it opens nothing else.
targetScope = 'subscription'

param groupName string
param location string
param tags object

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: groupName
  location: location
  tags: tags
}
