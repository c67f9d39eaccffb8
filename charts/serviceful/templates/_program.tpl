{{/*
The Deployment of a program, its account, and its disruption budget. Takes (dict
"root" $ "name" "gateway" "args" (list) "ports" (list of dicts), the first port
answering the probes).
*/}}
{{- define "serviceful.program" -}}
{{- $values := index .root.Values .name -}}
{{- $image := .root.Values.image -}}
{{- $credentials := .root.Values.nats.credentialsSecret.name -}}
{{- $replicas := include "serviceful.replicas" . | int -}}
{{- $probes := (first .ports).name -}}
{{- $object := printf "serviceful-%s" .name -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "serviceful.metadata" (merge (dict "object" $object) .) | nindent 2 }}
spec:
  replicas: {{ $replicas }}
  selector:
    matchLabels:
      {{- include "serviceful.selector" .name | nindent 6 }}
  strategy:
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  template:
    metadata:
      labels:
        {{- include "serviceful.selector" .name | nindent 8 }}
        {{- with merge (dict) $values.podLabels .root.Values.commonLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with merge (dict) $values.podAnnotations .root.Values.commonAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ $object }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $values.graceSeconds | default 30 | add 30 }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        {{- if $credentials }}
        fsGroup: 65532
        {{- end }}
        seccompProfile: {type: RuntimeDefault}
      {{- with include "serviceful.scheduling" (merge (dict "several" (gt $replicas 1) "strict" false) .) | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      containers:
      - name: {{ .name }}
        {{- $reference := ternary (printf "@%s" $values.image.digest) (printf ":%s" ($image.tag | default .root.Chart.AppVersion)) (ne $values.image.digest "") }}
        image: {{ printf "%s/%s%s" $image.registry $values.image.repository $reference }}
        {{- with $image.pullPolicy }}
        imagePullPolicy: {{ . }}
        {{- end }}
        args:
        {{- range concat .args $values.extraArgs }}
        - {{ . | quote }}
        {{- end }}
        ports:
        {{- range .ports }}
        - {name: {{ .name }}, containerPort: {{ .port }}}
        {{- end }}
        startupProbe: # it waits for NATS first
          httpGet: {path: /healthz, port: {{ $probes }}}
          periodSeconds: 1
          failureThreshold: 300
        livenessProbe:
          httpGet: {path: /healthz, port: {{ $probes }}}
          periodSeconds: 10
          failureThreshold: 3
        readinessProbe:
          httpGet: {path: /readyz, port: {{ $probes }}}
          periodSeconds: 2
          failureThreshold: 1
        {{- with $values.resources }}
        resources:
          {{- toYaml . | nindent 10 }}
        {{- end }}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
        {{- if $credentials }}
        volumeMounts:
        - {name: nats-credentials, mountPath: /etc/serviceful/nats, readOnly: true}
        {{- end }}
      {{- if $credentials }}
      volumes:
      - name: nats-credentials
        secret: {secretName: {{ $credentials }}, defaultMode: 0440}
      {{- end }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "serviceful.metadata" (merge (dict "object" $object) .) | nindent 2 }}
{{- end }}
