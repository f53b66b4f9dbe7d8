# The node on a CPU, with ROS 2 Kilted from its wheels:
#
#   docker compose up                                   camera player, node and Foxglove bridge (compose.yaml)
#   docker build -t lowlat_seg_ros . && docker run --rm --shm-size=512m lowlat_seg_ros
#
# Below 3 MB of free /dev/shm images go by UDP; docs/troubleshooting.md says what else matters in containers.
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ gcc make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /lowlat_seg_ros
COPY . .
# PyPI's torch brings CUDA along; this index has the CPU's build of the same version.
RUN PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make setup

ENTRYPOINT ["scripts/with_ros"]
CMD ["python", "-m", "lowlat_seg_ros.ros.main", "--ros-args", "-p", "device:=cpu"]
