"""ImageFolder: what it shows and rewards, which images are kept for the test, and which folders are refused."""

import copy
import inspect
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import rltransfer_envs
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from PIL import Image
from rltransfer_envs import image_files
from rltransfer_envs.image_folder import ImageFolder
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from rltransfer import tasks
from rltransfer.config import Task
from rltransfer.errors import ConfigError, UnknownNameError
from rltransfer.hyperparams import Hyperparameters

ENV_ID = "rltransfer_envs:rltransfer/ImageFolder-v0"
SUFFIXES = ", ".join(image_files.SUFFIXES)
Change = Callable[[Path], object]


def write(path: Path, value: int = 0, shape: tuple[int, int] = (4, 6)) -> Path:
    """Writes an image of one colour, ``(value, value + 1, value + 2)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*shape, 3), (value, value + 1, value + 2), dtype=np.uint8)).save(path)
    return path


def fill(folder: Path, **amounts: int) -> Path:
    """Writes as many images into each class folder, all of different colours."""
    value = itertools.count()
    for name, amount in amounts.items():
        for index in range(amount):
            write(folder / name / f"{index:02}.png", next(value))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "images", dog=6, cat=10, ant=4)


@pytest.fixture
def split_folder(tmp_path: Path) -> Path:
    fill(tmp_path / "images" / "train", cat=3, dog=2)
    fill(tmp_path / "images" / "test", cat=1, dog=4)
    return tmp_path / "images"


def shown(env: gym.Env[Any, Any], seed: int | None, episodes: int = 30) -> list[tuple[str, bytes]]:
    """Returns the file and the image of so many episodes."""
    seen = []
    for episode in range(episodes):
        image, info = env.reset(seed=seed if episode == 0 else None)
        seen.append((info["file"], image.tobytes()))
        env.step(0)
    return seen


def files(env: ImageFolder) -> list[str]:
    return [env.reset(options={"index": index})[1]["file"] for index in range(env.n_images)]


def accuracy(env: gym.Env[Any, Any], act: Callable[[dict[str, Any]], Any], episodes: int = 300) -> float:
    env.reset(seed=0)
    rewards = []
    for _ in range(episodes):
        _, info = env.reset()
        rewards.append(env.step(act(info))[1])
    return float(np.mean(rewards))


def test_the_reward_is_one_for_the_right_class_and_each_episode_one_step(folder: Path) -> None:
    env = gym.make(ENV_ID, folder=str(folder), split="all")
    classes = ("ant", "cat", "dog")
    assert env.get_wrapper_attr("classes") == classes
    assert env.action_space == gym.spaces.Discrete(3)
    assert env.observation_space == gym.spaces.Box(0, 255, (4, 6, 3), np.uint8)
    for action in range(3):
        image, info = env.reset(options={"index": 4})
        assert info == {"class_name": "cat", "file": "cat/00.png"}
        after, reward, terminated, truncated, step_info = env.step(action)
        assert (reward, terminated, truncated) == (float(action == 1), True, False)
        assert step_info == {**info, "is_success": action == 1}
        np.testing.assert_array_equal(image, after)
        np.testing.assert_array_equal(image, np.asarray(Image.open(folder / "cat/00.png")))


def test_the_mean_return_is_the_accuracy(folder: Path) -> None:
    env = gym.make(ENV_ID, folder=str(folder), split="all")
    classes = ["ant", "cat", "dog"]
    assert accuracy(env, lambda info: classes.index(info["class_name"])) == 1
    assert accuracy(env, lambda _: 1) == pytest.approx(0.5, abs=0.1)


def test_actions_drawn_with_the_same_seed_are_right_by_chance_alone(tmp_path: Path) -> None:
    env = gym.make(ENV_ID, folder=str(fill(tmp_path, a=4, b=4, c=4, d=4)))
    for seed in range(3):
        env.action_space.seed(seed)
        env.reset(seed=seed)
        rewards = []
        for _ in range(400):
            rewards.append(env.step(env.action_space.sample())[1])
            env.reset()
        assert np.mean(rewards) == pytest.approx(0.25, abs=0.08)


def test_every_image_of_the_split_is_drawn_and_no_other(folder: Path) -> None:
    env = ImageFolder(folder=str(folder), split="test")
    assert {file for file, _ in shown(env, seed=0, episodes=200)} == set(files(env))


def test_the_seed_decides_which_images_come(folder: Path) -> None:
    env, again = (gym.make(ENV_ID, folder=str(folder)) for _ in range(2))
    assert shown(env, seed=3) == shown(again, seed=3) == shown(env, seed=3)
    assert shown(env, seed=4) != shown(env, seed=3)


def test_an_index_leaves_the_images_to_come_alone(folder: Path) -> None:
    env = ImageFolder(folder=str(folder))
    expected = shown(env, seed=0)[1:]
    env.reset(seed=0)
    env.reset(options={"index": 2})
    assert shown(env, seed=None)[:-1] == expected
    for index in (-1, 10, 1.0, True):
        with pytest.raises(ConfigError, match=f"argument 'index' must be a whole number from 0 to 9, not {index}"):
            env.reset(options={"index": index})


def test_a_step_needs_an_image_and_a_class(folder: Path) -> None:
    env = ImageFolder(folder=str(folder))
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction, match="not 3"):
        env.step(3)
    env.step(np.int64(2))
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)


@pytest.mark.parametrize("cache_mb", [256, 0])
def test_what_is_done_to_an_observation_does_not_show_again(folder: Path, cache_mb: int) -> None:
    env = ImageFolder(folder=str(folder), cache_mb=cache_mb, render_mode="rgb_array")
    image, _ = env.reset(options={"index": 0})
    before = image.copy()
    image[:] = 9
    np.testing.assert_array_equal(env.render(), before)
    np.testing.assert_array_equal(env.step(0)[0], before)
    np.testing.assert_array_equal(env.reset(options={"index": 0})[0], before)


@pytest.mark.parametrize("kwargs", [{}, {"cache_mb": 0}, {"size": 5}, {"split": "test"}], ids=str)
def test_both_checkers_pass(folder: Path, kwargs: dict[str, Any]) -> None:
    env = gym.make(ENV_ID, folder=str(folder), render_mode="rgb_array", **kwargs)
    gymnasium_check_env(env.unwrapped)
    # SB3 warns that its usual network needs 36 pixels.
    with pytest.warns(UserWarning, match="minimal resolution"):
        sb3_check_env(env)


def test_the_split_keeps_a_share_of_each_class_for_the_test(folder: Path) -> None:
    for share, expected in ((0.5, {"ant": 2, "cat": 5, "dog": 3}), (0.25, {"ant": 1, "cat": 2, "dog": 2})):
        train, test = (
            files(ImageFolder(folder=str(folder), split=split, test_share=share)) for split in ("train", "test")
        )
        assert {name: sum(file.startswith(name) for file in test) for name in expected} == expected
        assert not set(train) & set(test)
        assert sorted(train + test) == files(ImageFolder(folder=str(folder), split="all"))


def test_the_split_depends_on_its_seed_the_share_and_the_names_alone(folder: Path, tmp_path: Path) -> None:
    env = ImageFolder(folder=str(folder))
    chosen = files(env)
    env.reset(seed=5)
    assert files(env) == chosen
    others = [files(ImageFolder(folder=str(folder), split_seed=seed)) for seed in range(1, 6)]
    assert len({tuple(other) for other in (chosen, *others)}) > 1
    moved = tmp_path / "elsewhere"
    for path in folder.rglob("*.png"):
        write(moved / path.relative_to(folder), 200, shape=(9, 9))
    assert files(ImageFolder(folder=str(moved), size=2, cache_mb=0)) == chosen
    # Another version that chose others would train agents on images that earlier ones kept for the test.
    assert "".join(file[0] + file[5] for file in chosen) == "a0a1c0c1c2c3c8d3d4d5"


def test_another_class_leaves_the_split_of_the_others_alone(folder: Path) -> None:
    before = files(ImageFolder(folder=str(folder)))
    fill(folder, bee=4)
    assert [file for file in files(ImageFolder(folder=str(folder))) if not file.startswith("bee")] == before


def test_train_and_test_folders_are_the_split(split_folder: Path) -> None:
    write(split_folder / "val" / "cow" / "0.png")
    for share in (0.5, 0.9):
        env = ImageFolder(folder=str(split_folder), test_share=share)
        assert files(env) == [f"train/{name}.png" for name in ("cat/00", "cat/01", "cat/02", "dog/00", "dog/01")]
        test = ImageFolder(folder=str(split_folder), split="test", test_share=share)
        assert files(test) == ["test/cat/00.png", *(f"test/dog/0{index}.png" for index in range(4))]
    assert ImageFolder(folder=str(split_folder), split="all").n_images == 10
    assert env.classes == test.classes == ("cat", "dog")
    _, info = test.reset(options={"index": 4})
    assert info["class_name"] == "dog"
    assert test.step(1)[1] == 1


def test_other_files_hidden_ones_and_folders_in_a_class_are_passed_over(folder: Path) -> None:
    before = [files(ImageFolder(folder=str(folder), split=split)) for split in ("train", "test")]
    (folder / "cat" / "labels.csv").write_text("x")
    (folder / "cat" / ".hidden.png").write_text("x")
    (folder / "README.md").write_text("x")
    (folder / ".cache").mkdir()
    (folder / "cat" / "folder.png").mkdir()
    write(folder / "cat" / "more" / "0.png")
    assert [files(ImageFolder(folder=str(folder), split=split)) for split in ("train", "test")] == before


@pytest.mark.parametrize("suffix", [*image_files.SUFFIXES, ".PNG", ".JPG"])
def test_each_kind_of_file_is_read(folder: Path, suffix: str) -> None:
    write(folder / "ant" / f"more{suffix}", 100)
    env = ImageFolder(folder=str(folder), split="all")
    image, info = env.reset(options={"index": 4})
    assert info["file"] == f"ant/more{suffix}"
    np.testing.assert_allclose(image, np.broadcast_to((100, 101, 102), (4, 6, 3)), atol=2)


def pictures() -> dict[str, tuple[Image.Image, np.ndarray, dict[str, Any]]]:
    """Returns images that are not plain RGB, what they look like, and how to save them."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (4, 6), dtype=np.uint8)
    colours = np.array([[250, 0, 0], [0, 240, 0], [0, 0, 230]], dtype=np.uint8)
    indices = rng.integers(0, 3, (4, 6), dtype=np.uint8)
    palette = Image.fromarray(indices).convert("P")
    palette.putdata(indices.ravel().tolist())
    palette.putpalette(colours.ravel().tolist())
    rgb = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    transparent = np.dstack([rgb, rng.integers(0, 256, (4, 6), dtype=np.uint8)])
    # The camera was held so that the image has to be turned by 90 degrees clockwise.
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(rgb)))
    return {
        "grey": (Image.fromarray(grey), np.dstack([grey] * 3), {}),
        "black and white": (Image.fromarray(grey > 128), np.dstack([(grey > 128) * np.uint8(255)] * 3), {}),
        "palette": (palette, colours[indices], {}),
        "palette with transparency": (palette, colours[indices], {"transparency": bytes([0, 100, 200])}),
        "transparent": (Image.fromarray(transparent), rgb, {}),
        "turned": (turned, rgb, {"exif": exif}),
    }


@pytest.mark.parametrize("cache_mb", [256, 0])
@pytest.mark.parametrize("kind", pictures())
def test_every_image_becomes_upright_and_rgb(folder: Path, kind: str, cache_mb: int) -> None:
    image, expected, settings = pictures()[kind]
    image.save(folder / "ant" / "00.png", **settings)
    env = ImageFolder(folder=str(folder), split="all", cache_mb=cache_mb)
    np.testing.assert_array_equal(env.reset(options={"index": 0})[0], expected)


def test_of_an_animation_the_first_frame_is_shown(folder: Path) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "ant" / "00.gif", save_all=True, append_images=frames[1:])
    image, info = ImageFolder(folder=str(folder), split="all").reset(options={"index": 0})
    assert info["file"] == "ant/00.gif"
    np.testing.assert_array_equal(image, np.broadcast_to((255, 0, 0), (4, 6, 3)))


@pytest.mark.parametrize("cache_mb", [256, 0])
def test_images_are_resized_with_antialias(folder: Path, cache_mb: int) -> None:
    stripes = np.zeros((40, 60, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    Image.fromarray(stripes).save(folder / "ant" / "00.png")
    env = ImageFolder(folder=str(folder), split="all", size=8, cache_mb=cache_mb)
    image, _ = env.reset(options={"index": 0})
    assert env.observation_space.shape == image.shape == (8, 8, 3)
    assert image.min() > 80
    assert image.max() < 120


def test_images_are_decoded_once_where_memory_allows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = ImageFolder(folder=str(folder), size=128)
    unkept = ImageFolder(folder=str(folder), size=128, cache_mb=0)
    # 20 images of 48 KiB each.
    bounded = ImageFolder(folder=str(folder), size=256, cache_mb=3)
    seen = shown(env, seed=0)
    assert shown(unkept, seed=0) == seen
    opened: list[Any] = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: opened.append(args) or original(*args, **kwargs))
    shown(env, seed=0)
    for other in (ImageFolder(folder=str(folder), size=128, split="test"), copy.deepcopy(env)):
        shown(other, seed=0)
    assert opened == []
    for decoding in (unkept, bounded):
        opened.clear()
        decoding.reset()
        assert len(opened) == 1


def test_an_environment_that_is_made_later_sees_what_has_changed(folder: Path) -> None:
    env = ImageFolder(folder=str(folder), split="all")
    before, _ = env.reset(options={"index": 0})
    path = write(folder / "ant" / "00.png", 77)
    os.utime(path, ns=(1, 1))
    after, _ = ImageFolder(folder=str(folder), split="all").reset(options={"index": 0})
    assert before[0, 0].tolist() == [10 + 6, 17, 18]
    assert after[0, 0].tolist() == [77, 78, 79]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: cloudpickle.loads(cloudpickle.dumps(env))])
@pytest.mark.parametrize("cache_mb", [256, 0])
def test_copies_go_on_alike_and_hold_no_images(folder: Path, duplicate: Any, cache_mb: int) -> None:
    env = gym.make(ENV_ID, folder=str(folder), size=100, cache_mb=cache_mb)
    shown(env, seed=0)
    image, info = env.reset()
    twin = duplicate(env)
    answers = [each.step(1) for each in (env, twin)]
    np.testing.assert_array_equal(answers[0][0], image)
    np.testing.assert_array_equal(answers[1][0], image)
    assert answers[0][1:] == answers[1][1:]
    assert answers[1][4]["file"] == info["file"]
    assert shown(twin, seed=None) == shown(env, seed=None)
    # Its space alone takes four times as much as an image; there are 20.
    assert len(cloudpickle.dumps(env)) < 5 * image.nbytes


def test_a_copy_is_refused_where_other_files_have_come(folder: Path) -> None:
    saved = cloudpickle.dumps(ImageFolder(folder=str(folder)))
    write(folder / "ant" / "zz.png")
    with pytest.raises(ConfigError, match="has other files than when the state of its environment was saved"):
        cloudpickle.loads(saved)


@pytest.mark.parametrize("cache_mb", [256, 0])
def test_a_process_without_the_images_reads_them_again(folder: Path, cache_mb: int) -> None:
    env = ImageFolder(folder=str(folder), cache_mb=cache_mb)
    shown(env, seed=0)
    saved, expected = cloudpickle.dumps(env), shown(env, seed=None)
    # Images are shared for as long as an environment lives: now none does.
    del env
    assert shown(cloudpickle.loads(saved), seed=None) == expected


@pytest.mark.parametrize("cache_mb", [256, 0])
def test_a_run_goes_on_with_the_very_images_after_an_interruption(folder: Path, cache_mb: int) -> None:
    task = Task(env=ENV_ID, kwargs={"folder": str(folder), "size": 40, "cache_mb": cache_mb})
    hyperparams = Hyperparameters(policy="CnnPolicy", n_envs=2)
    first, second = (
        tasks.make_train_env(task, hyperparams, seed=seed, monitor_folder=None, vec_env="dummy") for seed in (0, 1)
    )
    for env in (first, second):
        assert tasks.find_keeping(env).is_exact
        env.reset()
    first.step(np.array([0, 0]))
    states = tasks.dump_states(first)
    assert states is not None
    tasks.load_states(second, states)
    for _ in range(20):
        for seen, again in zip(first.step(np.array([0, 1])), second.step(np.array([0, 1])), strict=True):
            if isinstance(seen, np.ndarray):
                np.testing.assert_array_equal(seen, again)


def truncated(path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-30])


MISTAKES: list[tuple[Change, str]] = [
    (shutil.rmtree, "{owner}: argument 'folder' must be a folder that exists, not '{folder}'."),
    (
        lambda folder: [shutil.rmtree(folder / name) for name in ("ant", "cat", "dog")],
        "Image folder '{folder}' has no class folders: put the images of each class into a sub-folder.",
    ),
    (
        lambda folder: [shutil.rmtree(folder / name) for name in ("ant", "cat")],
        "Image folder '{folder}' has one class folder, 'dog', where at least two are needed.",
    ),
    (
        lambda folder: (folder / "bee").mkdir(),
        "Image folder '{folder}': class 'bee' has no images (" + SUFFIXES + ").",
    ),
    (
        lambda folder: write(folder / "bee" / "more" / "0.png"),
        "Image folder '{folder}': class 'bee' has no images ("
        + SUFFIXES
        + "). Images inside of its sub-folders are not read.",
    ),
    (
        lambda folder: write(folder / "bee" / "0.png"),
        "Image folder '{folder}': a test_share of 0.5 leaves class 'bee', which has 1 image, without images for the "
        "test.",
    ),
    (
        lambda folder: (folder / "cat" / "05.png").write_text("no image"),
        "Image file '{folder}/cat/05.png' is none of PNG, JPEG, BMP, WEBP, GIF, TIFF.",
    ),
    (
        # Pillow reads this format as well.
        lambda folder: Image.new("RGB", (6, 4)).save(folder / "cat" / "05.png", "PPM"),
        "Image file '{folder}/cat/05.png' is none of PNG, JPEG, BMP, WEBP, GIF, TIFF.",
    ),
    (
        lambda folder: Image.fromarray(np.full((4, 6), 999, dtype=np.uint16)).save(folder / "cat" / "05.png"),
        "Image file '{folder}/cat/05.png' has more than 8 bits for each grey value (Pillow's mode 'I;16'): save it "
        "with 8 bits.",
    ),
    (
        lambda folder: (folder / "cat" / "zz.png").symlink_to("nowhere.png"),
        "Image file '{folder}/cat/zz.png' cannot be read: [Errno 2] No such file or directory: '{folder}/cat/zz.png'.",
    ),
    (
        lambda folder: write(folder / "cat" / "05.png", shape=(4, 7)),
        "Image folder '{folder}' has images of several sizes, such as 6x4 (ant/00.png) and 7x4 (cat/05.png): give the "
        "argument 'size', the side in pixels that all are resized to.",
    ),
]
SPLIT_MISTAKES: list[tuple[Change, str]] = [
    (
        lambda folder: write(folder / "train" / "bee" / "0.png"),
        "Image folder '{folder}': class 'bee' is in train/ and not in test/.",
    ),
    (
        lambda folder: write(folder / "test" / "bee" / "0.png"),
        "Image folder '{folder}': class 'bee' is in test/ and not in train/.",
    ),
    (
        lambda folder: [(folder / "test" / "dog" / f"0{index}.png").unlink() for index in range(4)],
        "Image folder '{folder}/test': class 'dog' has no images (" + SUFFIXES + ").",
    ),
    (
        lambda folder: [shutil.rmtree(folder / part / "dog") for part in ("train", "test")],
        "Image folder '{folder}/train' has one class folder, 'cat', where at least two are needed.",
    ),
    (
        lambda folder: [shutil.rmtree(folder / "train" / name) for name in ("cat", "dog")],
        "Image folder '{folder}/train' has no class folders: put the images of each class into a sub-folder.",
    ),
]


def assert_refused(folder: Path, message: str) -> None:
    """Checks the error of the environment, with and without kept images."""
    makers: dict[str, Callable[[], object]] = {
        "ImageFolder": lambda: gym.make(ENV_ID, folder=str(folder)),
        "ImageFolder ": lambda: gym.make(ENV_ID, folder=str(folder), cache_mb=0),
    }
    for owner, make in makers.items():
        with pytest.raises(ConfigError) as caught:
            make()
        assert str(caught.value) == message.format(owner=owner.strip(), folder=folder)


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_a_folder_that_cannot_be_used_is_refused_at_once(folder: Path, change: Change, message: str) -> None:
    change(folder)
    assert_refused(folder, message)


@pytest.mark.parametrize(("change", "message"), SPLIT_MISTAKES)
def test_train_and_test_folders_that_do_not_agree_are_refused(split_folder: Path, change: Change, message: str) -> None:
    change(split_folder)
    assert_refused(split_folder, message)


def test_an_image_that_breaks_off_is_named(folder: Path) -> None:
    truncated(folder / "cat" / "05.png")
    with pytest.raises(ConfigError, match=r"Image file '.*/cat/05.png' cannot be read: .*truncated"):
        ImageFolder(folder=str(folder))
    # Without memory for all images its beginning alone is looked at.
    env = ImageFolder(folder=str(folder), split="all", size=4, cache_mb=0)
    with pytest.raises(ConfigError, match=r"Image file '.*/cat/05.png' cannot be read: .*truncated"):
        env.reset(options={"index": 4 + 5})


def test_a_share_without_images_for_training_is_refused_unless_all_are_shown(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ImageFolder(folder=str(folder), test_share=0.9)
    assert str(caught.value) == (
        f"Image folder '{folder}': a test_share of 0.9 leaves class 'ant', which has 4 images, without images for "
        "training."
    )
    assert ImageFolder(folder=str(folder), test_share=0.9, split="all").n_images == 20


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"folder": ""}, "argument 'folder' must be a folder that exists, not ''."),
        ({"folder": 3}, "argument 'folder' must be a folder that exists, not 3."),
        ({"split": "tests"}, "argument 'split' must be 'train' or 'test' or 'all', not 'tests'. Did you mean 'test'?"),
        ({"test_share": 0}, "argument 'test_share' must be between 0 and 1, bounds excluded, not 0."),
        ({"test_share": "0.5"}, "argument 'test_share' must be a finite number, not '0.5'."),
        ({"split_seed": -1}, "argument 'split_seed' must be a whole number from 0 up, not -1."),
        ({"size": 0}, "argument 'size' must be a whole number from 1 up, not 0."),
        ({"cache_mb": 0.5}, "argument 'cache_mb' must be a whole number from 0 up, not 0.5."),
    ],
)
def test_wrong_values_are_refused_by_name(folder: Path, kwargs: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"folder": str(folder), **kwargs}
    with pytest.raises(ConfigError) as caught:
        gym.make(ENV_ID, **arguments)
    assert str(caught.value) == f"ImageFolder: {message}"


def test_the_folder_has_to_be_given_and_unknown_arguments_get_near_misses(folder: Path) -> None:
    listing = "Known: folder, split, test_share, split_seed, size, cache_mb."
    with pytest.raises(ConfigError) as missing:
        gym.make(ENV_ID)
    assert str(missing.value) == f"ImageFolder needs the argument 'folder'. {listing}"
    with pytest.raises(UnknownNameError) as unknown:
        gym.make(ENV_ID, folder=str(folder), splt="test")
    assert str(unknown.value) == f"ImageFolder has no argument 'splt'. Did you mean 'split'? {listing}"


def test_arguments_and_extra_are_listed() -> None:
    listed = rltransfer_envs.arguments(ENV_ID)
    assert list(listed) == ["folder", "split", "test_share", "split_seed", "size", "cache_mb"]
    assert listed["folder"] is inspect.Parameter.empty
    assert listed["size"] is None
    assert rltransfer_envs.extra(ENV_ID) is None
