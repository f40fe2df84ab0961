{{/*
The appliance as a native sidecar, to be the first of a pod's initContainers:

  spec:
    terminationGracePeriodSeconds: {{ include "bucketdisk.graceSeconds" . }}
    initContainers:
      {{- include "bucketdisk.sidecar" . | nindent 6 }}
    containers:
      - name: app
        volumeMounts:
          - {{ include "bucketdisk.appMount" (dict "path" "/drive") }}
    volumes:
      {{- include "bucketdisk.sidecarVolumes" . | nindent 6 }}

The values are this chart's. A chart that has it as a dependency hands over its context in place of its own:

      {{- include "bucketdisk.sidecar" .Subcharts.bucketdisk | nindent 6 }}

and likewise to the other templates. The pod's labels should include "bucketdisk.selectorLabels", by which the Service for metrics, and
`helm test`, find the sidecar.

The application starts once the drive is mounted (startupProbe), and finds it at PATH/VOLUME. When the pod ends, Kubernetes ends
the application first, and then the sidecar, which unmounts, detaches and uploads. So there is no preStop hook: it would take the
drive from under the application.

Kubernetes lets only privileged containers mount for others (Bidirectional). The drive is mounted in a directory of the node, and not
in an emptyDir: that is deleted with the pod, file by file, with whatever a killed sidecar has left mounted in it.
*/}}
{{- define "bucketdisk.sidecar" -}}
{{- if not (hasKey .Values.volumes .Values.sidecar.volume) -}}
{{- fail (printf "sidecar.volume is %q, which is none of volumes" .Values.sidecar.volume) -}}
{{- end -}}
{{- with .Values.sidecar.loadModules -}}
- name: load-modules
  image: {{ include "bucketdisk.image" $ }}
  imagePullPolicy: {{ $.Values.image.pullPolicy }}
  command: [modprobe, --all, {{ join ", " . }}]
  securityContext:
    runAsUser: 0
    runAsNonRoot: false
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: { drop: [ALL], add: [SYS_MODULE] }
  resources: { requests: { cpu: 10m, memory: 16Mi }, limits: { memory: 64Mi } }
  volumeMounts:
    - { name: bucketdisk-modules, mountPath: /lib/modules, readOnly: true }
{{ end -}}
- name: bucketdisk
  image: {{ include "bucketdisk.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  args: [mount, {{ .Values.sidecar.volume }}, /drive/{{ .Values.sidecar.volume }}, --fs, {{ .Values.sidecar.fs }}]
  env: {{- include "bucketdisk.env" . | trim | default "[]" | nindent 4 }}
  ports:
    - { name: admin, containerPort: 9310 }
  securityContext:
    privileged: true
    runAsUser: 0
    runAsGroup: 0
    runAsNonRoot: false
    readOnlyRootFilesystem: true
  startupProbe:
    exec: { command: [bucketdisk, health] }
    periodSeconds: 2
    timeoutSeconds: 10
    failureThreshold: {{ div (add (int .Values.sidecar.startupSeconds) 1) 2 }}
  livenessProbe: {{- include "bucketdisk.livenessProbe" . | nindent 4 }}
  readinessProbe: {{- include "bucketdisk.readinessProbe" . | nindent 4 }}
  resources: {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    {{- include "bucketdisk.volumeMounts" . | nindent 4 }}
    - { name: bucketdisk-drive, mountPath: /drive, mountPropagation: Bidirectional }
    # Loop devices appear while the container runs.
    - { name: bucketdisk-dev, mountPath: /dev }
{{- end -}}

{{/* An entry of an application's volumeMounts: (dict "path" "/drive"). What the sidecar mounts below it appears in it. */}}
{{- define "bucketdisk.appMount" -}}
{ name: bucketdisk-drive, mountPath: {{ .path }}, mountPropagation: HostToContainer }
{{- end -}}

{{/* The volumes of a pod with the sidecar. */}}
{{- define "bucketdisk.sidecarVolumes" -}}
{{ include "bucketdisk.volumes" . }}
- name: bucketdisk-cache
  persistentVolumeClaim: { claimName: {{ include "bucketdisk.fullname" . }}-cache }
- name: bucketdisk-drive
  hostPath: { path: {{ printf "%s/%s/%s" .Values.sidecar.hostDir .Release.Namespace (include "bucketdisk.fullname" .) }}, type: DirectoryOrCreate }
- name: bucketdisk-dev
  hostPath: { path: /dev, type: Directory }
{{- if .Values.sidecar.loadModules }}
- name: bucketdisk-modules
  hostPath: { path: /lib/modules, type: Directory }
{{- end }}
{{- end -}}
