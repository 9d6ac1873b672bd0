# The three tools in one small image: static programs, no shell, not root. docs/cadence.md says how to run it.
#
#   docker build --tag sequencer-recovery .
#   docker run --rm sequencer-recovery --version
FROM rust:1.95-alpine AS build
# The C compiler is for SQLite and for ring; musl makes the programs static.
RUN apk add --no-cache build-base
WORKDIR /source
COPY . .
RUN cargo build --release --locked -p sequencer-recovery -p outbox-sync -p anchor-verify \
    && mkdir -p /image/usr/local/bin /image/data /image/tmp \
    && cp target/release/sequencer-recovery target/release/outbox-sync target/release/anchor-verify /image/usr/local/bin/ \
    && chmod 1777 /image/tmp && chown 65532:65532 /image/data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /image/ /
# What the tools write goes here: mount a volume over it.
WORKDIR /data
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/sequencer-recovery"]
CMD ["--help"]
