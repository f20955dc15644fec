# Makes the guest images on a system that is not Debian:
#
#     docker build --output image/out .
#
# The result is what `cargo xtask image` makes on Debian; with it in place, all other
# commands work wherever Rust and Node.js do.
FROM rust:1-bookworm AS build
WORKDIR /vivarium
COPY . .
# Installs the Debian packages that it needs, as root in here.
RUN cargo xtask image

FROM scratch
COPY --from=build /vivarium/image/out /
