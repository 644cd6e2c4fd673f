{{- /* Jobs that wait or run; and one more while no worker was heard of for 20 hours, so that API replicas, which judge requests by what
workers say of their model, are ready after the first install and stay so. */ -}}
{{- $s := .Values.queue.schema -}}
SELECT (SELECT count(*) FROM {{ $s }}.job WHERE state = 0) + (SELECT count(*) FROM {{ $s }}.job WHERE state = 1) + CASE WHEN EXISTS (SELECT FROM {{ $s }}.crew WHERE seen_ms > extract(epoch FROM now()) * 1000 - 72000000) THEN 0 ELSE 1 END
