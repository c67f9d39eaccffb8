{{/* Labels of an object. Takes (dict "root" $ "name" "gateway"). */}}
{{- define "serviceful.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/part-of: serviceful
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What selects a program's pods; as in config/, and never to change. Takes the program's name. */}}
{{- define "serviceful.selector" -}}
app.kubernetes.io/name: {{ . }}
app.kubernetes.io/part-of: serviceful
{{- end }}

{{/* The metadata of an object of this chart. Takes (dict "root" $ "name" "gateway" "object" "serviceful-gateway" "global" true "annotations" (dict)). */}}
{{- define "serviceful.metadata" -}}
name: {{ .object }}
{{- if not .global }}
namespace: {{ .root.Release.Namespace }}
{{- end }}
labels:
  {{- include "serviceful.labels" . | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* How many replicas a program has. Takes (dict "root" $ "name" "gateway"). */}}
{{- define "serviceful.replicas" -}}
{{- $available := dict "gateway" 3 "dispatcher" 2 "operator" 2 -}}
{{- $set := (index .root.Values .name).replicas -}}
{{- if not (kindIs "invalid" $set) }}{{ $set }}{{ else if .root.Values.highAvailability }}{{ index $available .name }}{{ else }}1{{ end -}}
{{- end }}

{{/* How many NATS servers the chart installs: 0 with an existing NATS. */}}
{{- define "serviceful.natsServers" -}}
{{- if .Values.nats.url }}0{{ else if .Values.nats.servers }}{{ .Values.nats.servers }}{{ else if .Values.highAvailability }}3{{ else }}1{{ end -}}
{{- end }}

{{/* How many replicas a stream has: as many as there are servers, or as an existing NATS is said to have. */}}
{{- define "serviceful.streamReplicas" -}}
{{- $servers := include "serviceful.natsServers" . -}}
{{- if .Values.nats.streamReplicas }}{{ .Values.nats.streamReplicas }}{{ else if ne $servers "0" }}{{ $servers }}{{ else if .Values.highAvailability }}3{{ else }}1{{ end -}}
{{- end }}

{{/* The size of a store in MB: four fifths of the volume. */}}
{{- define "serviceful.storeSize" -}}
{{- div (mul (trimSuffix "Gi" .Values.nats.storage.size | int64) 1024 4) 5 }}MB
{{- end }}

{{/* The version of Knative Serving, by its namespace's label; nothing where that has none. */}}
{{- define "serviceful.knativeVersion" -}}
{{- $namespace := lookup "v1" "Namespace" "" .Values.knative.namespace | default dict -}}
{{- $version := dig "metadata" "labels" "app.kubernetes.io/version" "" $namespace | trimPrefix "v" -}}
{{- if regexMatch "^[0-9]+\\.[0-9]+\\.[0-9]+" $version }}{{ $version }}{{ end -}}
{{- end }}

{{/* The flags that say where NATS is. */}}
{{- define "serviceful.natsArgs" -}}
- {{ printf "--nats=%s" (.Values.nats.url | default "nats://serviceful-nats:4222") | quote }}
{{- if .Values.nats.credentialsSecret.name }}
- {{ printf "--nats-credentials=/etc/serviceful/nats/%s" .Values.nats.credentialsSecret.key | quote }}
{{- end }}
{{- end }}

{{/* Where the pods of a program run. Takes (dict "root" $ "name" "gateway" "several" true "strict" false). */}}
{{- define "serviceful.scheduling" -}}
{{- $values := index .root.Values .name -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml $values.topologySpreadConstraints | nindent 2 }}
{{- else if .several }}
topologySpreadConstraints:
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: {{ ternary "DoNotSchedule" "ScheduleAnyway" .strict }}
  labelSelector: {matchLabels: {{ include "serviceful.selector" .name | fromYaml | toJson }}}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: {matchLabels: {{ include "serviceful.selector" .name | fromYaml | toJson }}}
{{- end }}
{{- end }}

{{/* What lets one pod at a time be evicted. Takes (dict "root" $ "name" "gateway"). */}}
{{- define "serviceful.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "serviceful.metadata" (merge (dict "object" (printf "serviceful-%s" .name)) .) | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "serviceful.selector" .name | nindent 6 }}
{{- end }}
