# Chimera Lab in a container: docker build -t chimera-lab . && docker run --privileged --rm chimera-lab run vmotion
#
# A lab makes namespaces, interfaces and tap devices inside the container, which takes --privileged; what it makes ends
# with the container. For the reports: mkdir results, -v "$PWD/results:/results" and --out /results.
FROM debian:bookworm-slim

COPY . /opt/chimera-lab
RUN ln -s /opt/chimera-lab/lab /usr/local/bin/lab \
    && lab setup \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /root/.cache

WORKDIR /root
ENTRYPOINT ["lab"]
CMD ["--help"]
