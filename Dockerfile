# A small image with the worker and the starter; it does not run as root.
# Only its form was checked: see README.md.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The build context has no Git repository: docker build --build-arg VERSION=$(git describe --tags)
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -o /out/ \
    -ldflags="-s -w -X github.com/snapferry/snapferry/internal/version.release=$VERSION" ./worker ./starter

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/worker /out/starter /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/worker"]
