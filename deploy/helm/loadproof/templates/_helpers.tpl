{{- define "loadproof.name" -}}
{{- if contains "loadproof" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-loadproof" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "loadproof.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}{{ else }}{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "loadproof.dial" -}}
{{ printf "%s-controller.%s.svc:%d" (include "loadproof.name" .) .Release.Namespace (int .Values.controller.port) }}
{{- end }}

{{- define "loadproof.selector" -}}
app.kubernetes.io/name: loadproof
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "loadproof.labels" -}}
{{ include "loadproof.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "loadproof.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
# Only the first time: the controller refuses a folder that others may read.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "loadproof.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
