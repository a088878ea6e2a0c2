# Two images: `--target app` serves the pages, without torch; `--target worker` computes runs and serves a model.

FROM node:22-slim AS scripts
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
COPY static/ static/
RUN npm ci --omit=dev --no-audit --no-fund


FROM python:3.12-slim AS wheel
WORKDIR /build
COPY . .
COPY --from=scripts /build/static/vendor static/vendor
RUN pip wheel --no-deps --wheel-dir /wheels .


FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 keyscope \
    && install --directory --owner keyscope --group keyscope /data /data/runs /data/labels /data/cache
WORKDIR /build
# Dependencies are installed first, so this layer is rebuilt only when these two files change.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > app.txt \
    && pip install -c constraints.txt -r app.txt


FROM base AS app
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels pip install --no-deps /wheels/*.whl
USER 10001
WORKDIR /data
# The server listens on every address of the container, so by default people have to sign in.
ENV KEYSCOPE_HOST=0.0.0.0 KEYSCOPE_PORT=8000 KEYSCOPE_ACCOUNTS=accounts KEYSCOPE_RUNS=/data/runs KEYSCOPE_DATABASE_URL=sqlite:////data/labels/labels.sqlite
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["sh", "-c", "keyscope db upgrade && exec keyscope serve"]


FROM base AS worker
# Package index for torch. The default index has a build with CUDA; PyTorch's index of CPU wheels makes a much
# smaller image.
ARG TORCH_INDEX=""
RUN pip install -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
RUN python -c "import tomllib; extras = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; print(*extras['worker'], *extras['cluster'], sep='\n')" > worker.txt \
    && pip install -c constraints.txt -r worker.txt
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels pip install --no-deps /wheels/*.whl
USER 10001
WORKDIR /data
ENV KEYSCOPE_CACHE=/data/cache HF_HOME=/data/cache/huggingface
EXPOSE 8001
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8001/healthz', timeout=4)"]
ENTRYPOINT ["keyscope"]
CMD ["worker"]
