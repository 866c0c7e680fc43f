#!/bin/sh
# Writes src/store/etcd-v3/generated from proto/etcd/rpc.proto. Needs protoc (Debian: protobuf-compiler); the build does not need this.
set -eu
cd "$(dirname "$0")/.."
out=src/store/etcd-v3/generated
rm -rf "$out" && mkdir -p "$out"
protoc --plugin=node_modules/.bin/protoc-gen-es --es_out="$out" --es_opt=target=js+dts,import_extension=js -I proto/etcd proto/etcd/rpc.proto
