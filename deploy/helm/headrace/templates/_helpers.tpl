{{- define "headrace.labels" -}}
app.kubernetes.io/name: headrace
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: headrace-{{ .Chart.Version }}
{{- end }}

{{- define "headrace.selector" -}}
app.kubernetes.io/name: headrace
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What a container is, whichever process it runs. */}}
{{- define "headrace.container" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
envFrom:
  - secretRef:
      name: {{ required "set secret: the name of a Secret with HEADRACE_CONTROL_URL and the like" .Values.secret | quote }}
{{- with .Values.environment }}
env:
  {{- range $name, $value := . }}
  - name: {{ $name }}
    value: {{ $value | toString | quote }}
  {{- end }}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* What a pod is, whichever process it runs. */}}
{{- define "headrace.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "headrace.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- with .Values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "headrace.volumes" -}}
- name: tmp
  emptyDir: {}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A command that ends, as a hook: root, name, command, hook and weight are given. */}}
{{- define "headrace.job" }}
{{- $root := .root }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $root.Release.Name }}-{{ .name }}
  labels:
    {{- include "headrace.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
  annotations:
    helm.sh/hook: {{ .hook }}
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: 5
  activeDeadlineSeconds: 600
  template:
    metadata:
      labels:
        {{- include "headrace.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .name }}
    spec:
      restartPolicy: Never
      {{- include "headrace.pod" $root | nindent 6 }}
      containers:
        - name: {{ .name }}
          command: {{ toJson .command }}
          {{- include "headrace.container" $root | nindent 10 }}
          volumeMounts:
            {{- include "headrace.mounts" $root | nindent 12 }}
            {{- if and (eq .name "apply") $root.Values.definitions }}
            - name: definitions
              mountPath: /config
              readOnly: true
            {{- end }}
      volumes:
        {{- include "headrace.volumes" $root | nindent 8 }}
        {{- if and (eq .name "apply") $root.Values.definitions }}
        - name: definitions
          configMap:
            name: {{ $root.Release.Name }}-definitions
            items:
              {{- range $kind, $definitions := $root.Values.definitions }}
              {{- range $id, $_ := $definitions }}
              - key: {{ $kind }}.{{ $id }}.json
                path: {{ $kind }}/{{ $id }}.json
              {{- end }}
              {{- end }}
        {{- end }}
{{- end }}
