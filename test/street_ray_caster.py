"""A second, slow way to label a synthetic street: cast rays, intersect every surface, keep the nearest.

It shares no code with the painters and knows nothing of the order in which they paint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowlat_seg_ros.data.classes import PAVEMENT, ROAD
from lowlat_seg_ros.street.backdrop import Backdrop
from lowlat_seg_ros.street.body import Body
from lowlat_seg_ros.street.camera import PinholeCamera
from lowlat_seg_ros.street.cross_section import ROAD as ROAD_LANE
from lowlat_seg_ros.street.ground import Ground
from lowlat_seg_ros.street.panel import Panel
from lowlat_seg_ros.street.surface import Surface

NEAREST = 0.6
UNSEEN = 254

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass
class Rays:
    """A grid of rays (rows, columns), and the depth and label of the nearest surface that each has hit."""

    origin: Points
    directions: Points  # (rows, columns, 3), scaled to depth 1
    depth: NDArray[np.float64]
    labels: NDArray[np.uint8]

    def towards(self, points: Points) -> Rays:
        """Return the rays, sharing their results with these, of the window that encloses points in front of them."""
        ahead = points - self.origin
        axis = np.cross(self.directions[0, -1] - self.directions[0, 0], self.directions[-1, 0] - self.directions[0, 0])
        axis = axis / (axis @ self.directions[0, 0])
        depth = ahead @ axis
        if depth.min() < NEAREST:
            return self
        right = self.directions[0, 1] - self.directions[0, 0]
        down = self.directions[1, 0] - self.directions[0, 0]
        offset = ahead / depth[:, None] - self.directions[0, 0]
        columns, rows = offset @ right / (right @ right), offset @ down / (down @ down)
        window = tuple(
            slice(max(0, math.floor(place.min())), max(0, math.ceil(place.max()) + 1)) for place in (rows, columns)
        )
        return Rays(self.origin, self.directions[window], self.depth[window], self.labels[window])

    def depth_of_plane(self, point: Points, normal: Points) -> NDArray[np.float64]:
        """Return how deep each ray meets a plane; -1 where it never does."""
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = ((point - self.origin) @ normal) / (self.directions @ normal)
        return np.nan_to_num(depth, nan=-1, posinf=-1, neginf=-1)

    def points_at(self, depth: NDArray[np.float64]) -> Points:
        """Return the world points (rows, columns, 3) so deep along the rays."""
        return self.origin + depth[..., None] * self.directions

    def hit(self, depth: NDArray[np.float64], inside: Mask, labels: NDArray[np.uint8]) -> None:
        """Keep a surface where it is in front of the camera and nearer than what was hit before."""
        nearer = inside & (depth > NEAREST) & (depth < self.depth)
        np.copyto(self.depth, depth, where=nearer)
        np.copyto(self.labels, labels, where=nearer)


def cast(camera: PinholeCamera, surfaces: list[Surface], finer: int) -> NDArray[np.uint8]:
    """Return the labels (H * finer, W * finer) found by `finer` x `finer` rays for every pixel."""
    rays = _rays(camera, finer)
    for surface in surfaces:
        if isinstance(surface, Backdrop):
            for panel in surface.panels(camera):
                _hit_panel(rays, panel)
        elif isinstance(surface, Ground):
            _hit_ground(rays)
        elif isinstance(surface, Panel):
            _hit_panel(rays, surface)
        elif isinstance(surface, Body):
            _hit_body(rays, surface)
        else:
            raise TypeError(f"Rays cannot hit a {type(surface).__name__}.")
    return rays.labels


def _rays(camera: PinholeCamera, finer: int) -> Rays:
    width, height = camera.size
    columns = (np.arange(width * finer) + 0.5) / finer - 0.5
    rows = (np.arange(height * finer) + 0.5) / finer - 0.5
    right, down = np.meshgrid((columns - camera.centre[0]) / camera.focal, (rows - camera.centre[1]) / camera.focal)
    cos, sin = math.cos(camera.yaw), math.sin(camera.yaw)
    directions = np.stack([right * cos + sin, -down, cos - right * sin], axis=-1)
    origin = np.array([camera.x, camera.height, camera.z])
    return Rays(origin, directions, np.full(right.shape, np.inf), np.full(right.shape, UNSEEN, np.uint8))


def _hit_ground(rays: Rays) -> None:
    depth = rays.depth_of_plane(np.zeros(3), np.array([0.0, 1.0, 0.0]))
    x = rays.points_at(depth)[..., 0]
    on_road = (x > ROAD_LANE.left) & (x < ROAD_LANE.right)
    rays.hit(depth, depth > 0, np.where(on_road, np.uint8(ROAD), np.uint8(PAVEMENT)))


def _hit_panel(rays: Rays, panel: Panel) -> None:
    corner, along, down = (np.array(vector) for vector in (panel.corner, panel.along, panel.down))
    width, height = panel.texture.size
    rays = rays.towards(corner + np.array([(a, d) for a in (0, width) for d in (0, height)]) @ np.array([along, down]))
    depth = rays.depth_of_plane(corner, np.cross(along, down))
    point = rays.points_at(depth) - corner
    opacity = panel.texture.reduced((0, 0))[..., 3]
    column = np.floor(point @ along * (opacity.shape[1] / width)).astype(int)
    row = np.floor(point @ down * (opacity.shape[0] / height)).astype(int)
    inside = (column >= 0) & (column < opacity.shape[1]) & (row >= 0) & (row < opacity.shape[0])
    inside[inside] = opacity[row[inside], column[inside]] >= 128
    rays.hit(depth, inside, np.full(depth.shape, panel.class_id, np.uint8))


def _hit_body(rays: Rays, body: Body) -> None:
    """Hit a body's faces in their own order, later ones over earlier ones, then let the whole compete in depth."""
    rays = rays.towards(body.points)
    nearest, labels = np.full(rays.depth.shape, np.inf), np.full(rays.depth.shape, UNSEEN, np.uint8)
    for face in body.faces:
        corners = body.points[face.first : face.end]
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[1])
        if face.outward and (rays.origin - corners[0]) @ normal < 0:
            continue  # corners run clockwise seen from outside, and the world is left-handed: the normal points outside
        depth = rays.depth_of_plane(corners[0], normal)
        point = rays.points_at(depth)
        following = np.roll(corners, -1, axis=0)
        to_the_left = [
            (point - start) @ np.cross(normal, end - start) for start, end in zip(corners, following, strict=True)
        ]
        inside = np.min(to_the_left, axis=0) >= 0
        np.copyto(nearest, depth, where=inside)
        np.copyto(labels, np.uint8(face.class_id), where=inside)
    rays.hit(nearest, np.isfinite(nearest), labels)
