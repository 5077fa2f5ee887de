# One recipe for the four services. There is no `# syntax` line: it would fetch a frontend image at every build, and the
# one inside Docker since 20.10 knows all that is used here (BuildKit is needed for the cache mounts). Both base images
# are named down to their Debian release and take its security updates: what must not move is pinned in Cargo.lock.
FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
# All four are built in one go, and nothing above depends on SERVICE, so four images cost one compilation. The target
# folder is a cache mount, which no later stage can copy from, hence the folder /services.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked -p uservice1 -p uservice2 -p uservice3 -p uservice4 \
    && mkdir /services \
    && cp target/release/uservice1 target/release/uservice2 target/release/uservice3 target/release/uservice4 /services/

# The C library and little else, of the same Debian release as the builder; there is no shell, so the binary checks its
# own health.
FROM gcr.io/distroless/cc-debian13:nonroot
ARG SERVICE
COPY --from=build /services/${SERVICE} /app
# By number, so that a runtime can tell that it is not root without looking into the image.
USER 65532:65532
EXPOSE 7878
ENTRYPOINT ["/app"]
