#!/usr/bin/env bash
# Makes gpu-bundle/ and gpu-bundle.tar.gz: everything to check and time the compiled programs on a machine with an NVIDIA
# GPU, which needs nothing installed but the driver. There: gpu-bundle/run.sh [OUT_FOLDER]. Usage: scripts/gpu_bundle.sh
# W2VC_CODEGEN names a code generator to be used instead of a new one.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}/release
bundle=gpu-bundle
limit_mib=60

cargo build --release --package w2vc-runtime --package w2vc-tests --bin w2vc-runner --bin w2vc-gpu-check --bin make-gpu-bundle
[ -n "${W2VC_CODEGEN:-}" ] || cargo build --release --package w2vc-cuda --bin w2vc-codegen

rm -rf $bundle $bundle.tar.gz
mkdir $bundle
"$target/make-gpu-bundle" $bundle "$target/w2vc-runner"
cp "$target/w2vc-gpu-check" scripts/gpu/run.sh scripts/gpu/report.py scripts/gpu/torch_base.py $bundle/
chmod +x $bundle/run.sh
tar czf $bundle.tar.gz $bundle
du -sh $bundle $bundle.tar.gz
mib=$(du -sm --apparent-size $bundle | cut -f1)
if [ "$mib" -ge $limit_mib ]; then
    echo "error: the bundle has $mib MiB and must stay under $limit_mib" >&2
    exit 1
fi
echo "copy $bundle.tar.gz to the machine with the GPU, unpack it, and run $bundle/run.sh OUT_FOLDER"
