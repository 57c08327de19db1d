#!/usr/bin/env bash
# Make the pictures of README.md anew from a run with an example forecast: scripts/readme_pictures.sh RUN [FOLDER]
# Those of MLflow's pages are made by tests/tracking/test_pages.py.
set -eu -o pipefail
run=$1 folder=${2:-docs/images}
spacecast-plot run="$run" what=animation "variables=[rho]" "leads=[1,5,10,15,20,25,30,35,40,45,50]" fps=3 size=column output="$folder"
spacecast-plot run="$run" what=rmse output="$folder"
spacecast-plot run="$run" what=examples "leads=[10]" output="$folder"
mv "$folder/example_0_lead_10.png" "$folder/forecast.png"
rm -f "$folder"/example_0_lead_10_*.png "$folder"/animation.mp4
