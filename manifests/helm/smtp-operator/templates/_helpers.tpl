{{- /* One name for all objects: several operators with different selectors may live side by side. */ -}}
{{- define "smtp-operator.name" -}}
{{- .Release.Name | replace "." "-" -}}
{{- end -}}

{{- define "smtp-operator.selector" -}}
app.kubernetes.io/name: smtp-operator
app.kubernetes.io/instance: {{ include "smtp-operator.name" . }}
{{- end -}}

{{- define "smtp-operator.labels" -}}
{{ include "smtp-operator.selector" . }}
app.kubernetes.io/part-of: cakemail-smtp-gateway
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "smtp-operator.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* As settings.py decides it: "true" or "false". */ -}}
{{- define "smtp-operator.secretsWatched" -}}
{{- if kindIs "invalid" .Values.watchSecrets -}}
{{- not (empty .Values.watchNamespaces) -}}
{{- else -}}
{{- .Values.watchSecrets -}}
{{- end -}}
{{- end -}}

{{- define "smtp-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "smtp-operator.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /* What the operator may do where it serves, and nothing more: each line is used. */ -}}
{{- define "smtp-operator.rules" -}}
- apiGroups: [smtp.cakemail.com]
  resources: [smtpgateways]
  verbs: [get, list, watch]
- apiGroups: [smtp.cakemail.com]
  resources: [smtpgateways/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services, serviceaccounts, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  {{- if eq (include "smtp-operator.secretsWatched" .) "true" }}
  verbs: [get, list, watch, create, patch, delete]
  {{- else }}
  verbs: [get, create, patch, delete]
  {{- end }}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
