# The server of dogbreed_sm as a container for SageMaker, or for anywhere else:
#   docker build -t dogbreed-sm-serve .
#   docker run -p 8080:8080 -v "$PWD/model:/opt/ml/model" dogbreed-sm-serve
# For an endpoint of SageMaker it is pushed to the account's registry under that name, with the package's version as its tag.
# Every step is one that .ci/oracles/dockerfile.py can repeat in a virtual environment, which is how it is tested.
FROM python:3.11-slim
# SageMaker may then choose another port than 8080, by SAGEMAKER_BIND_TO_PORT
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# an index with PyTorch for processors alone makes the image a tenth of the size
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /opt/dogbreed
# serving needs neither fastai nor anything else of training
COPY constraints.txt ./
RUN pip install -c constraints.txt torch torchvision numpy pillow safetensors tqdm h5py starlette uvicorn prometheus-client
COPY setup.py settings.ini pyproject.toml README.md ./
COPY dogbreed_sm ./dogbreed_sm
RUN pip install --no-deps .
WORKDIR /
EXPOSE 8080
ENTRYPOINT ["python", "-m", "dogbreed_sm.serve"]
CMD ["serve"]
