# Two images: `--target app` serves pages without torch, `--target worker` computes runs and serves the model.

FROM node:22-slim AS scripts
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
COPY static/ static/
RUN npm ci --omit=dev --no-audit --no-fund


FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 keyscope \
    && install --directory --owner keyscope --group keyscope /data /data/runs /data/labels /data/cache
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./


FROM base AS app
# Dependencies first: this layer changes only with them.
RUN pip install -c constraints.txt .
COPY . .
COPY --from=scripts /build/static/vendor static/vendor
RUN pip install --no-deps --force-reinstall . && rm -rf /build/*
USER keyscope
WORKDIR /data
# Every address of the container is listened on, so people sign in unless it is said otherwise.
ENV KEYSCOPE_HOST=0.0.0.0 KEYSCOPE_PORT=8000 KEYSCOPE_ACCOUNTS=accounts KEYSCOPE_RUNS=/data/runs KEYSCOPE_DATABASE_URL=sqlite:////data/labels/labels.sqlite
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["sh", "-c", "keyscope db upgrade && exec keyscope serve"]


FROM base AS worker
# The package index to take torch from; empty takes the default one's build, which brings CUDA. PyTorch's own index of
# CPU wheels makes a much smaller image.
ARG TORCH_INDEX=""
RUN pip install -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
RUN pip install -c constraints.txt '.[worker]'
COPY . .
RUN pip install --no-deps --force-reinstall . && rm -rf /build/*
USER keyscope
WORKDIR /data
ENV KEYSCOPE_CACHE=/data/cache HF_HOME=/data/cache/huggingface
EXPOSE 8001
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8001/healthz', timeout=4)"]
ENTRYPOINT ["keyscope"]
CMD ["worker"]
