// What tells people that something is wrong. Application Insights takes no instrumentation key alone: only identities write.
targetScope = 'resourceGroup'

param base string
param location string
param tags object
param principalId string
param alertEmail string
param serviceBusName string
param vaultName string

var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'
var actions = empty(alertEmail) ? [] : [people.id]

// Functions' own records suffice for all but one of them: that a commit was parked is what the service itself logs.
var logAlerts = [
  {
    name: 'functions-fail'
    description: 'More than one in twenty invocations failed, and at least ten.'
    severity: 2
    window: 'PT15M'
    query: 'AppRequests | summarize failed = countif(Success == false), total = count() | where failed >= 10 and failed * 20 > total'
  }
  {
    name: 'feed-stuck'
    description: 'The commit feed fails and has not got past it: rows and reactions fall behind.'
    severity: 1
    window: 'PT10M'
    query: 'AppRequests | where OperationName == "onCommits" | summarize failed = countif(Success == false), passed = countif(Success == true and TimeGenerated > ago(5m)) | where failed >= 3 and passed == 0'
  }
  {
    name: 'feed-lags'
    description: 'A batch of the commit feed takes longer than half a minute: rows fall behind what is stored.'
    severity: 2
    window: 'PT15M'
    query: 'AppRequests | where OperationName == "onCommits" | summarize slow = percentile(DurationMs, 90) | where slow > 30000'
  }
  {
    name: 'commit-parked'
    description: 'A commit could not be projected or reacted to and was put aside. What it means is missing from views until somebody looks.'
    severity: 1
    window: 'PT15M'
    query: 'AppTraces | where Message has "a commit was parked"'
  }
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${base}-logs'
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: 30
    features: { disableLocalAuth: true }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${base}-insights'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

// Reason: the runtime and the service write their telemetry as this identity.
resource writeTelemetryRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, principalId, monitoringMetricsPublisher)
  scope: insights
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
  }
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(alertEmail)) {
  name: '${base}-people'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'ledger'
    enabled: true
    emailReceivers: [{ name: 'mail', emailAddress: alertEmail, useCommonAlertSchema: true }]
  }
}

resource bus 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: serviceBusName
}

resource deadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${base}-dead-letters'
  location: 'global'
  tags: tags
  properties: {
    description: 'A queue has dead letters: something was refused ten times. The API shows why (see README.md).'
    severity: 2
    enabled: true
    scopes: [bus.id]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'deadLetters'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.ServiceBus/namespaces'
          metricName: 'DeadletteredMessages'
          dimensions: [{ name: 'EntityName', operator: 'Include', values: ['*'] }]
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Average'
        }
      ]
    }
    actions: [for action in actions: { actionGroupId: action }]
  }
}

resource logAlertRules 'Microsoft.Insights/scheduledQueryRules@2022-06-15' = [
  for alert in logAlerts: {
    name: '${base}-${alert.name}'
    location: location
    tags: tags
    properties: {
      displayName: '${base} ${alert.name}'
      description: alert.description
      severity: alert.severity
      enabled: true
      scopes: [workspace.id]
      evaluationFrequency: 'PT5M'
      windowSize: alert.window
      // The tables appear with the first records: before that the query would be refused.
      skipQueryValidation: true
      autoMitigate: true
      criteria: {
        allOf: [
          {
            query: alert.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: actions }
    }
  }
]

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

// Who read or changed which key or certificate.
resource vaultAudit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: workspace.id
    logs: [{ categoryGroup: 'audit', enabled: true }]
  }
}

output insightsName string = insights.name
