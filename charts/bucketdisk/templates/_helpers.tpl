{{- define "bucketdisk.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "bucketdisk.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $full | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "bucketdisk.selectorLabels" -}}
app.kubernetes.io/name: {{ include "bucketdisk.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bucketdisk.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "bucketdisk.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "bucketdisk.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "bucketdisk.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "bucketdisk.image" -}}
{{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end -}}

{{/* Time for uploads, to give back the lease, and for a filesystem to write what it still has; in mode sidecar the application comes first. */}}
{{- define "bucketdisk.graceSeconds" -}}
{{- $app := ternary (int .Values.sidecar.appSeconds) 0 (eq .Values.mode "sidecar") -}}
{{- $needed := add (int .Values.shutdownDrainSeconds) 60 $app -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- $needed -}}
{{- else if lt (int .Values.terminationGracePeriodSeconds) (int (add (int .Values.shutdownDrainSeconds) $app)) -}}
{{- fail (printf "terminationGracePeriodSeconds must be at least %d: shutdownDrainSeconds, and in mode sidecar sidecar.appSeconds" (add (int .Values.shutdownDrainSeconds) $app)) -}}
{{- else -}}
{{- .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{/* bucketdisk.json5, with `config` merged over it. */}}
{{- define "bucketdisk.config" -}}
{{- if not .Values.store.url -}}
{{- fail "store.url is not set: s3://bucket/prefix" -}}
{{- end -}}
{{- $full := include "bucketdisk.fullname" . -}}
{{- $hosts := list $full (printf "%s.%s" $full .Release.Namespace) (printf "%s.%s.svc" $full .Release.Namespace) (printf "%s.%s.svc.cluster.local" $full .Release.Namespace) -}}
{{- $store := dict "url" .Values.store.url "region" .Values.store.region "endpoint" .Values.store.endpoint "forcePathStyle" .Values.store.forcePathStyle -}}
{{- $tls := dict "mode" "off" -}}
{{- if .Values.tls.existingSecret -}}
{{- $tls = dict "mode" "required" "certFile" "/tls/tls.crt" "keyFile" "/tls/tls.key" -}}
{{- if .Values.tls.verifyClients -}}
{{- $tls = merge $tls (dict "caFile" "/tls/ca.crt" "verifyClients" "require") -}}
{{- end -}}
{{- end -}}
{{- $listen := ternary (list "0.0.0.0:10809") (list) (eq .Values.mode "server") -}}
{{- $config := dict
      "store" $store
      "cache" (dict "dir" "/cache" "size" .Values.cache.size "logSize" .Values.cache.logSize)
      "nbd" (dict "listen" $listen "tls" $tls)
      "admin" (dict "listen" "0.0.0.0:9310" "hosts" $hosts)
      "shutdown" (dict "drain" (printf "%ds" (int .Values.shutdownDrainSeconds)))
      "volumes" .Values.volumes
-}}
{{- mergeOverwrite $config (deepCopy .Values.config) | toPrettyJson -}}
{{- end -}}

{{- define "bucketdisk.env" -}}
{{- if .Values.store.existingSecret }}
- { name: BUCKETDISK_STORE_ACCESS_KEY_ID_FILE, value: /credentials/access-key-id }
- { name: BUCKETDISK_STORE_SECRET_ACCESS_KEY_FILE, value: /credentials/secret-access-key }
{{- end }}
{{- range $volume, $_ := .Values.volumePasswords }}
- { name: BUCKETDISK_VOLUMES_{{ $volume | upper | replace "-" "_" }}_PASSWORD_FILE, value: /passwords/{{ $volume }}/password }
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where the container finds its configuration and secrets. */}}
{{- define "bucketdisk.volumeMounts" -}}
- { name: bucketdisk-config, mountPath: /config, readOnly: true }
- { name: bucketdisk-cache, mountPath: /cache }
{{- if .Values.store.existingSecret }}
- { name: bucketdisk-credentials, mountPath: /credentials, readOnly: true }
{{- end }}
{{- range $volume, $_ := .Values.volumePasswords }}
- { name: bucketdisk-password-{{ $volume }}, mountPath: /passwords/{{ $volume }}, readOnly: true }
{{- end }}
{{- if and .Values.tls.existingSecret (eq .Values.mode "server") }}
- { name: bucketdisk-tls, mountPath: /tls, readOnly: true }
{{- end }}
{{- end -}}

{{/* The pod's volumes for it, but for the cache. */}}
{{- define "bucketdisk.volumes" -}}
- name: bucketdisk-config
  configMap: { name: {{ include "bucketdisk.fullname" . }} }
{{- with .Values.store.existingSecret }}
- name: bucketdisk-credentials
  secret: { secretName: {{ . }}, defaultMode: 0440 }
{{- end }}
{{- range $volume, $secret := .Values.volumePasswords }}
- name: bucketdisk-password-{{ $volume }}
  secret:
    secretName: {{ $secret.existingSecret }}
    defaultMode: 0440
    items: [{ key: {{ default "password" $secret.key }}, path: password }]
{{- end }}
{{- if and .Values.tls.existingSecret (eq .Values.mode "server") }}
- name: bucketdisk-tls
  secret: { secretName: {{ .Values.tls.existingSecret }}, defaultMode: 0440 }
{{- end }}
{{- end -}}

{{/* Alive is a process that answers, whatever the bucket does: a restart would not bring the bucket back. */}}
{{- define "bucketdisk.livenessProbe" -}}
httpGet: { path: /healthz, port: admin }
periodSeconds: 10
timeoutSeconds: 5
failureThreshold: 6
{{- end -}}

{{- define "bucketdisk.readinessProbe" -}}
httpGet: { path: /readyz, port: admin }
periodSeconds: 5
timeoutSeconds: 5
failureThreshold: 3
{{- end -}}
