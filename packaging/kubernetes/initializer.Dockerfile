# The container that fetches `conch://` builds into a server's pod:
#   docker build -f packaging/kubernetes/initializer.Dockerfile -t registry.example.org/conch-fetch:0.1.0 .
# It has not been built where it was written, since there was no docker; the program itself is tested.
FROM python:3.11-slim-bookworm AS build
COPY . /src
# What `conch.kserve.fetching` imports, and nothing else of conch's needs; a test compares.
RUN pip install --no-cache-dir --target /packages numpy pydantic pyyaml xxhash \
 && pip install --no-cache-dir --target /packages --no-deps /src

FROM python:3.11-slim-bookworm
COPY --from=build /packages /usr/local/lib/python3.11/site-packages
RUN useradd --uid 1000 --create-home conch
USER 1000
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["python", "-m", "conch.kserve.fetching"]
