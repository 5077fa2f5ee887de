# One recipe for the four services, the edge and the trace store. There is no `# syntax` line: it would fetch a frontend
# image at every build, and the one inside Docker since 20.10 knows all that is used here (BuildKit is needed for the
# cache mounts). Both base images are named down to their Debian release and take its security updates: what must not
# move is pinned in Cargo.lock.
FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
# All are built in one go, and nothing above depends on SERVICE, so six images cost one compilation. The target folder
# is a cache mount, which no later stage can copy from, hence the folder /services. The empty folder /data is for what a
# program keeps: a volume takes over its owner.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked -p uservice1 -p uservice2 -p uservice3 -p uservice4 -p edge -p tracestore \
    && mkdir /services /data \
    && for service in uservice1 uservice2 uservice3 uservice4 edge tracestore; do \
        cp "target/release/$service" /services/ || exit 1; \
    done

# The C library and little else, of the same Debian release as the builder; there is no shell, so the binary checks its
# own health.
FROM gcr.io/distroless/cc-debian13:nonroot
ARG SERVICE
COPY --from=build /services/${SERVICE} /app
COPY --from=build --chown=65532:65532 /data /data
# By number, so that a runtime can tell that it is not root without looking into the image.
USER 65532:65532
ENTRYPOINT ["/app"]
