{{/* The image, with its registry if it has one. */}}
{{- define "gateway-agent.image" -}}
{{- with .Values.image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .Values.image.name }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What tells the pods of a component from all others; never changes. */}}
{{- define "gateway-agent.selector" -}}
app.kubernetes.io/name: gateway-agent
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* A manifest of deploy/rbac, for the release's namespace. */}}
{{- define "gateway-agent.rbac" -}}
{{- $text := .root.Files.Get (printf "rbac/%s.yaml" .role) | required (printf "the chart lacks rbac/%s.yaml" .role) }}
{{- $text | replace "gateway-agent-system" .root.Release.Namespace }}
{{- end }}

{{/* Where the API server is, if not where its Service says. */}}
{{- define "gateway-agent.api-server" -}}
{{- with .Values.apiServer }}
{{- if .host }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .host | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .port | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The allocator gives free memory back at once, page by page: after the lists of thousands of objects, most is free. */}}
{{- define "gateway-agent.memory" -}}
- name: MIMALLOC_PURGE_DELAY
  value: "0"
- name: MIMALLOC_ALLOW_THP
  value: "0"
{{- end }}
