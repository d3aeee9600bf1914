FROM python:3.13-slim

# Without a DATABASE_URL TaskFlow runs a PostgreSQL of its own, with its data in the volume.
# It listens on all addresses of the container, so it wants keys (-e TASKFLOW_API_KEYS=name:key)
# or to be told that it needs none (-e TASKFLOW_ALLOW_ANONYMOUS=1); else it says so and ends.
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    TASKFLOW_BIND=0.0.0.0:8080 \
    TASKFLOW_DATA_DIR=/var/lib/taskflow

RUN useradd --system --user-group --no-create-home --shell /usr/sbin/nologin taskflow \
    && install --directory --owner=taskflow --group=taskflow --mode=0700 /var/lib/taskflow

WORKDIR /app
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY taskflow ./taskflow
RUN python -m compileall -q taskflow

USER taskflow
VOLUME /var/lib/taskflow
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s \
    CMD ["python", "-c", "import urllib.request as http; http.urlopen('http://127.0.0.1:8080/livez', timeout=2)"]
CMD ["python", "-m", "taskflow", "serve"]
