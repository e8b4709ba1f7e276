# make train in a container:
#   docker build -t sb3_angc .
#   docker run -v "$PWD/runs:/sb3_angc/runs" sb3_angc
#   docker run -v "$PWD/runs:/sb3_angc/runs" sb3_angc make train ENV=Acrobot-v1
FROM python:3.11-slim
# g++ is for compiled updates (compile_updates=True).
RUN apt-get update && apt-get install -y --no-install-recommends g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /sb3_angc
# torch without CUDA: small layers are fastest on one core
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
COPY . .
RUN make .venv/.installed-extra
CMD ["make", "train"]
