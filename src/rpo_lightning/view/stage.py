"""A scene as a MuJoCo model of its own: every body can be put anywhere, under a light and on a floor."""

from __future__ import annotations

import math

import mujoco
import numpy as np

from rpo_lightning.view.scene import WORLD, Scene, Shape

__all__ = ["LAMP", "Stage", "floor_of", "tile_of"]

LAMP = "lamp"
"""The body that carries the light; it goes where the camera looks."""

_SUN = np.array([0.25, 0.35, -1.0])
"""Where the light goes; the camera sees shadows behind the robot."""

_SKY = (0.93, 0.95, 0.98), (0.62, 0.74, 0.88)
_TILES = (0.80, 0.83, 0.87), (0.72, 0.76, 0.81)


class Stage:
    """MuJoCo's model and data of what is drawn; z is up.

    Attributes: `model`, `data`, `scene`.

    Args:
        scene: what is drawn.
        size: (width, height) of pictures [pixels].
        samples: of each pixel, against jagged edges. shadows: width of the picture from which shadows are taken; 0: none.
    """

    def __init__(self, scene: Scene, size: tuple[int, int] = (640, 480), samples: int = 4, shadows: int = 1024) -> None:
        self.scene = scene
        spec = mujoco.MjSpec()
        spec.compiler.balanceinertia = True  # of what is flat, though nothing moves by it
        spec.stat.extent, spec.stat.center = 2.0 * scene.extent, scene.centre
        _light(spec, size, samples, shadows)
        _ground(spec, scene)
        lamp = spec.worldbody.add_body(name=LAMP, mocap=True, pos=scene.centre)
        lamp.add_light(
            pos=-4.0 * scene.extent * _SUN, dir=_SUN, type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            diffuse=[0.55] * 3, specular=[0.2] * 3, castshadow=shadows > 0,
        )  # fmt: skip
        bodies = [spec.worldbody.add_body(name=f"{i} {name}", mocap=True) for i, name in enumerate(scene.bodies)]
        for index, shape in enumerate(scene.shapes):
            _add(spec, spec.worldbody if shape.body == WORLD else bodies[shape.body], shape, f"shape {index}")
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self._mocap = [int(self.model.body(f"{i} {name}").mocapid[0]) for i, name in enumerate(scene.bodies)]
        self._lamp = int(self.model.body(LAMP).mocapid[0])

    def put(self, poses: np.ndarray, lookat: np.ndarray) -> None:
        """Put the bodies at poses (B, 7), and the light over the point (3,) that is looked at."""
        self.data.mocap_pos[self._mocap], self.data.mocap_quat[self._mocap] = poses[:, :3], poses[:, 3:]
        self.data.mocap_pos[self._lamp] = lookat
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)


def _light(spec: mujoco.MjSpec, size: tuple[int, int], samples: int, shadows: int) -> None:
    visual = spec.visual
    getattr(visual, "global").offwidth, getattr(visual, "global").offheight = size
    visual.quality.offsamples, visual.quality.shadowsize = samples, max(shadows, 1)
    visual.headlight.ambient, visual.headlight.diffuse, visual.headlight.specular = [0.42] * 3, [0.28] * 3, [0.05] * 3
    visual.rgba.haze = [*_SKY[0], 1.0]
    visual.map.haze, visual.map.shadowclip, visual.map.znear = 0.35, 1.5, 0.005
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=_SKY[1], rgb2=_SKY[0], width=256, height=1536,
    )  # fmt: skip


def _ground(spec: mujoco.MjSpec, scene: Scene) -> None:
    """Lay the tiles."""
    spec.add_texture(
        name="tiles", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=_TILES[0], rgb2=_TILES[1], width=512, height=512, mark=mujoco.mjtMark.mjMARK_EDGE, markrgb=_SKY[0],
    )  # fmt: skip
    material = spec.add_material(name="tiles", texuniform=True, texrepeat=[0.5 / tile_of(scene)] * 2, specular=0.1)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "tiles"
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0.0, 0.0, 1.0], pos=[0.0, 0.0, floor_of(scene)], material="tiles",
        contype=0, conaffinity=0,
    )  # fmt: skip


def floor_of(scene: Scene) -> float:
    """Return the height of the floor that is drawn [m], also below a robot whose file has none."""
    return scene.floor if scene.floor is not None else min(0.0, float(scene.centre[2] - 1.2 * scene.extent))


def tile_of(scene: Scene) -> float:
    """Return the width of the floor's tiles [m]: the largest of 0.1, 0.2, 0.5, 1, 2, 5 ... within the robot's size."""
    power = 10.0 ** math.floor(math.log10(scene.extent))
    return max(factor * power for factor in (1.0, 2.0, 5.0) if factor * power <= scene.extent)


def _add(spec: mujoco.MjSpec, body: mujoco.MjsBody, shape: Shape, name: str) -> None:
    given = {"pos": shape.pos, "quat": shape.quat, "rgba": shape.rgba, "contype": 0, "conaffinity": 0}
    if shape.kind == "mesh":
        mesh = spec.add_mesh(
            name=name,
            uservert=shape.vertices.ravel(),
            userface=shape.faces.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh.name, **given)
        return
    size = np.append(shape.size[:2], 1.0) if shape.kind == "plane" else shape.size
    body.add_geom(type=getattr(mujoco.mjtGeom, f"mjGEOM_{shape.kind.upper()}"), size=size, **given)
