{{/* What pods of all kinds share. Each part takes a dict: root ($), kind (api, cpu or gpu), own (its settings). */}}
{{- define "stemforge.labels" -}}
app.kubernetes.io/name: stemforge
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .kind }}
{{- end }}

{{/* The pod's metadata. */}}
{{- define "stemforge.podMetadata" -}}
labels:
  {{- include "stemforge.labels" . | nindent 2 }}
  {{- if .root.Values.identity.clientId }}
  azure.workload.identity/use: "true"
  {{- end }}
annotations:
  prometheus.io/scrape: "true"
  prometheus.io/port: "8080"
{{- end }}

{{/* The pod's own fields, but containers and where it may run. */}}
{{- define "stemforge.pod" -}}
serviceAccountName: {{ .root.Release.Name }}
automountServiceAccountToken: false
# Kubernetes would set RELEASE_PORT and the like for each service.
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
# Above SHUTDOWN_GRACE_SECONDS, for callbacks and the sleep before it.
terminationGracePeriodSeconds: {{ add .root.Values.graceSeconds 20 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
volumes:
  - name: data
    emptyDir: {sizeLimit: 4Gi}
  # An API replica unpacks the papers of the workers' model there.
  - name: tmp
    emptyDir: {sizeLimit: 1Gi}
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        - secret: {name: {{ .root.Values.queue.secretName }}, items: [{key: {{ .root.Values.queue.key }}, path: queue-url}]}
        {{- if .root.Values.storage.secretName }}
        - secret: {name: {{ .root.Values.storage.secretName }}, items: [{key: {{ .root.Values.storage.key }}, path: storage}]}
        {{- end }}
        {{- if .root.Values.apiKeys.secretName }}
        - secret: {name: {{ .root.Values.apiKeys.secretName }}, items: [{key: {{ .root.Values.apiKeys.key }}, path: api-keys}]}
        {{- end }}
        {{- if .root.Values.callbackSecret.secretName }}
        - secret: {name: {{ .root.Values.callbackSecret.secretName }}, items: [{key: {{ .root.Values.callbackSecret.key }}, path: callback-secret}]}
        {{- end }}
  {{- if and (ne .kind "api") .root.Values.models.claimName }}
  - name: models
    persistentVolumeClaim: {claimName: {{ .root.Values.models.claimName }}, readOnly: true}
  {{- end }}
{{- end }}

{{/* The container's fields, but env and resources. */}}
{{- define "stemforge.container" -}}
name: stemforge
image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
ports: [{name: http, containerPort: 8080}]
startupProbe: {httpGet: {path: /livez, port: http}, periodSeconds: 2, failureThreshold: 150}
livenessProbe: {httpGet: {path: /livez, port: http}, periodSeconds: 10}
readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 5}
securityContext:
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: data, mountPath: /data}
  - {name: tmp, mountPath: /tmp}
  - {name: secrets, mountPath: /run/stemforge, readOnly: true}
  {{- if and (ne .kind "api") .root.Values.models.claimName }}
  - {name: models, mountPath: /models, readOnly: true}
  {{- end }}
{{- end }}

{{/* Settings that all pods have; a later map wins over an earlier one. */}}
{{- define "stemforge.env" }}
{{- $given := dict "ROLE" (eq .kind "api" | ternary "api" "worker") "DATA_DIR" "/data" "XDG_CACHE_HOME" "/data/cache" "QUEUE_URL_FILE" "/run/stemforge/queue-url"
    "BLOB_CONTAINER_NAME" .root.Values.storage.container "SHUTDOWN_GRACE_SECONDS" (toString .root.Values.graceSeconds) }}
{{- if .root.Values.storage.account }}{{ $_ := set $given "AZURE_STORAGE_ACCOUNT" .root.Values.storage.account }}{{ end }}
{{- if .root.Values.storage.secretName }}{{ $_ := set $given "AZURE_STORAGE_CONNECTION_STRING_FILE" "/run/stemforge/storage" }}{{ end }}
{{- if .root.Values.apiKeys.secretName }}{{ $_ := set $given "API_KEYS_FILE" "/run/stemforge/api-keys" }}{{ end }}
{{- if .root.Values.callbackSecret.secretName }}{{ $_ := set $given "CALLBACK_SECRET_FILE" "/run/stemforge/callback-secret" }}{{ end }}
{{- range $name, $value := mustMergeOverwrite $given .root.Values.settings .own }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
