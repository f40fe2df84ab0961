# The appliance as an image: configuration in /config, its own state in /cache, and where no S3 bucket is configured, a
# directory as the bucket in /bucket. As it is it serves NBD on port 10809, unprivileged; with the command `mount`, and the
# capability SYS_ADMIN, it mounts a volume's filesystem below /drive.

FROM node:24-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
# Without install scripts: the one that matters fetches another Node, and this image has its own.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build && npm prune --omit=dev --ignore-scripts
COPY config ./config
COPY LICENSE ./
# What comes from the clone is made readable for the user of the final image, whatever the umask there.
RUN mv config/docker.json5 config/default.json5 && chmod -R a+rX config package.json LICENSE && chmod a+x dist/main.js

FROM debian:bookworm-slim
# tini as the first process passes signals on from the first moment, and reaps what health checks leave behind. The
# filesystems' programs are for `mount`. Of Node there is the program alone: nothing here runs npm.
RUN apt-get update \
  && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    tini libstdc++6 libatomic1 mount kmod e2fsprogs xfsprogs btrfs-progs nbd-client \
  && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
  && groupadd --gid 10809 bucketdisk \
  && useradd --uid 10809 --gid bucketdisk --no-create-home --home-dir /cache --shell /usr/sbin/nologin bucketdisk \
  && mkdir /config /drive \
  && echo '{} // Your configuration goes here: mount a file, or a directory with this file in it.' > /config/bucketdisk.json5 \
  && install -d -m 0700 -o bucketdisk -g bucketdisk /cache /bucket \
  && ln -s /app/dist/main.js /usr/local/bin/bucketdisk
COPY --from=build /usr/local/bin/node /usr/local/bin/node

WORKDIR /app
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/package.json /build/LICENSE ./
COPY --from=build /build/config ./config
COPY --from=build /build/dist ./dist

ENV NODE_ENV=production BUCKETDISK_CONFIG=/config/bucketdisk.json5
USER 10809:10809
# New named volumes take the owner of these directories. /config is no volume: an old copy of it must not outlive an image.
VOLUME ["/cache", "/bucket"]
# NBD has no encryption and no passwords here: publish the port on 127.0.0.1, or on a network you trust to the last host.
# 9310: metrics and health checks over HTTP, to be published no further.
EXPOSE 10809 9310

ENTRYPOINT ["/usr/bin/tini", "--", "bucketdisk"]
CMD ["serve"]

# Healthy is an appliance that runs, serves every volume, and has mounted what it was told to, whatever the bucket does.
# `health` gives up by itself.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["bucketdisk", "health"]

ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="bucketdisk" \
  org.opencontainers.image.description="A disk in a bucket: virtual disks whose bytes live in S3, served over NBD or mounted" \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim" \
  org.opencontainers.image.version="$VERSION" \
  org.opencontainers.image.revision="$REVISION" \
  org.opencontainers.image.created="$CREATED"
