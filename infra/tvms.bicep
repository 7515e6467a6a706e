// What the service may do in the pools' resource group. Scale sets themselves are made at run time, one a pool: how many there
// are is for users of the service to say, not for whoever deploys it.
targetScope = 'resourceGroup'

param base string
param principalId string

// No built-in role is as narrow: Virtual Machine Contributor may also run commands on machines, attach disks and join any
// network. Nothing here ends in a wildcard, and nothing reads what runs on a machine.
resource scaleSetKeeper 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, base, 'scaleSetKeeper')
  properties: {
    roleName: 'Batchledger scale set keeper (${base})'
    description: 'Makes, reimages and removes scale sets of pools and their machines.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: [
          'Microsoft.Compute/virtualMachineScaleSets/read'
          'Microsoft.Compute/virtualMachineScaleSets/write'
          'Microsoft.Compute/virtualMachineScaleSets/delete'
          'Microsoft.Compute/virtualMachines/read'
          'Microsoft.Compute/virtualMachines/write'
          'Microsoft.Compute/virtualMachines/delete'
          'Microsoft.Compute/virtualMachines/reimage/action'
          'Microsoft.Compute/virtualMachines/instanceView/read'
          // A machine's disk and network card come and go with it; who orders the machine must be allowed to.
          'Microsoft.Compute/disks/read'
          'Microsoft.Compute/disks/write'
          'Microsoft.Compute/disks/delete'
          'Microsoft.Network/networkInterfaces/read'
          'Microsoft.Network/networkInterfaces/write'
          'Microsoft.Network/networkInterfaces/delete'
          'Microsoft.Network/networkInterfaces/join/action'
        ]
      }
    ]
  }
}

// Reason: pools grow and shrink at run time. The one role that is not on a single resource: scale sets do not exist yet when
// it is given, so it is on the group that holds nothing else.
resource scaleSetKeeperRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, base, principalId, 'scaleSetKeeper')
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: scaleSetKeeper.id
  }
}
