{{/* The configuration of the NATS servers: config/nats/nats.conf, and for several a cluster. */}}
{{- define "serviceful.natsConfig" -}}
{{- $servers := include "serviceful.natsServers" . | int -}}
# Accepted requests live here, so every write is on the disk before it is
# answered (sync_interval: always).
port: 4222
http_port: 8222
server_name: $POD_NAME
max_payload: 8MB
jetstream {
  store_dir: /data
  max_mem: 64MB
  # Below the volume's size: a full disk freezes streams until a restart, a full
  # store refuses with 507.
  max_file: {{ include "serviceful.storeSize" . }}
  sync_interval: always
  limits { default_max_consumers: -1 }
}
{{- if gt $servers 1 }}
# Each server knows all of them by the names that its Service gives the pods.
cluster {
  name: serviceful
  port: 6222
  routes: [
    {{- range until $servers }}
    nats://serviceful-nats-{{ . }}.serviceful-nats.{{ $.Release.Namespace }}:6222
    {{- end }}
  ]
}
{{- end }}
{{- end }}
