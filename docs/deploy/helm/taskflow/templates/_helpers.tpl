{{/* The name of the objects; the workers' have the suffix -worker. */}}
{{- define "taskflow.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 41 | trimSuffix "-") .Chart.Name -}}
{{- end -}}
{{- end -}}

{{/* Labels that select pods. They must never change: selectors of deployments are immutable. */}}
{{- define "taskflow.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "taskflow.labels" -}}
{{ include "taskflow.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "taskflow.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Settings of all nodes. */}}
{{- define "taskflow.config" -}}
{{- range $name, $value := .Values.config }}
{{ $name }}: {{ $value | quote }}
{{- end }}
TASKFLOW_DRAIN_SECONDS: {{ int .Values.shutdown.drainSeconds | quote }}
{{- range $name, $key := .Values.secrets.files }}
{{ $name }}: {{ printf "/run/secrets/taskflow/%s" $key }}
{{- end }}
{{- end -}}

{{/* What pods of both kinds have: annotations that replace them when a setting changes. */}}
{{- define "taskflow.podAnnotations" -}}
checksum/config: {{ include "taskflow.config" .root | sha256sum }}
{{- with .node.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Fields of the pod, of both kinds; the argument has root, node and component. */}}
{{- define "taskflow.pod" -}}
# Otherwise Kubernetes sets variables for the service that look like settings of TaskFlow.
enableServiceLinks: false
automountServiceAccountToken: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "taskflow.selectorLabels" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
{{- with .node.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .node.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .node.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .node.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .root.Values.secrets.files }}
volumes:
  - name: secrets
    secret:
      secretName: {{ $.root.Values.secrets.name | quote }}
      defaultMode: 0440
      items:
        {{- range $name, $key := . }}
        - {key: {{ $key | quote }}, path: {{ $key | quote }}}
        {{- end }}
{{- end }}
{{- end -}}

{{/* Fields of the container, of both kinds. */}}
{{- define "taskflow.container" -}}
image: {{ include "taskflow.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
envFrom:
  - configMapRef: {name: {{ include "taskflow.fullname" .root }}}
env:
  - name: DATABASE_URL
    valueFrom:
      secretKeyRef: {name: {{ .root.Values.database.secret | quote }}, key: {{ .root.Values.database.key | quote }}}
  {{- range $name, $value := .node.env }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources:
  {{- toYaml .node.resources | nindent 2 }}
{{- if .root.Values.secrets.files }}
volumeMounts:
  - {name: secrets, mountPath: /run/secrets/taskflow, readOnly: true}
{{- end }}
{{- end -}}
