"""Painting: full batches, images that depend on their own seed alone, and faults that are found, retried and told."""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import dogfast.synthesis.resolver as resolver
from dogfast.diffusion.guidance import Guidance
from dogfast.diffusion.solvers import SOLVERS
from dogfast.synthesis.painter import MAX_ATTEMPTS, Brush, begin, image_seed, paint
from dogfast.synthesis.recipes import Recipe
from dogfast.synthesis.transfer import upload

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "fakes.py")))
STEPS = 4


def brush(rows=4, guidance=None, texts=5, solver="dpm++2m", steps=STEPS, deepcache=1, **options):
    recipe = Recipe("test", solver, steps, guidance or Guidance(4.0, 0.0, 0.5), deepcache=deepcache)
    states = torch.arange(texts, dtype=torch.float32)[:, None, None].expand(-1, 4, 2)
    schedule = SOLVERS[solver].spacing(fakes.FakePipeline.alphas_cumprod, steps, None)
    networks = fakes.networks(**options)
    return Brush(
        networks,
        networks.decode,
        recipe,
        schedule,
        fakes.SIDE,
        rows,
        texts=lambda conditions, seeds: states[conditions],
        starts=lambda conditions, seeds: resolver.gaussian_noise(seeds, (4, 8, 8)),
        empty=torch.zeros(1, 4, 2),
    )


def seed_of(place, attempt):
    return 1 + place + 1000 * attempt


@pytest.fixture
def marked(monkeypatch):
    """Noise that tells its seed to `fakes.networks(spoil=…)`; prompts have no strength then."""
    monkeypatch.setattr(resolver, "gaussian_noise", fakes.marked_noise)


def same(one, two):
    return all(torch.equal(a.content, b.content) and a.seed == b.seed for a, b in zip(one, two, strict=True))


# --- batches ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("count, batches", [(1, 1), (3, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_batches_are_always_full_and_padding_is_dropped(count, batches):
    calls, told = [], []
    painted = paint(brush(calls=calls), [n % 5 for n in range(count)], seed_of, told.append)
    assert len(painted) == count and [p.seed for p in painted] == [seed_of(n, 0) for n in range(count)]
    guided, plain, decoded = 2, 2, 1
    assert calls == [*[("denoise", 8)] * guided, *[("denoise", 4)] * plain, *[("decode", 4)] * decoded] * batches
    assert sum(told) == count and max(told) <= 4


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_image_depends_on_its_own_seed_and_prompt_alone(solver):
    conditions = [n % 5 for n in range(19)]
    alone = paint(brush(rows=1, solver=solver), conditions, seed_of)
    for rows in (2, 7, 16, 32):
        assert same(alone, paint(brush(rows=rows, solver=solver), conditions, seed_of))
    backwards = paint(brush(rows=7, solver=solver), conditions[::-1], lambda place, attempt: seed_of(18 - place, attempt))
    assert same(alone, backwards[::-1])


def test_prompts_keep_to_their_rows():
    conditions = [0, 3, 1, 4, 2]
    mixed = paint(brush(rows=3), conditions, lambda place, attempt: 7)[:1]
    for condition in conditions[1:]:
        mixed += paint(brush(rows=3), [condition], lambda place, attempt: 7)
    brightness = [float(p.content.float().mean()) for p in mixed]
    assert sorted(brightness, reverse=True) == [brightness[conditions.index(c)] for c in range(5)]


def test_images_are_bytes_with_channels_last():
    (one,) = paint(brush(), [0], seed_of)
    assert one.content.dtype == torch.uint8 and one.content.shape == (fakes.SIDE, fakes.SIDE, 3)
    assert (one.attempt, one.fault, one.seed) == (0, "", 1)


def test_nothing_to_paint_paints_nothing():
    assert paint(brush(), [], seed_of) == []


# --- DeepCache --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("every", [2, 3, 7])
@pytest.mark.parametrize("solver, calls", [("dpm++2m", 20), ("pndm", 21)])
def test_every_so_many_calls_of_a_batch_are_whole(every, solver, calls):
    seen = []
    paint(brush(solver=solver, steps=20, deepcache=every, calls=seen), [n % 5 for n in range(8)], seed_of)
    guided = calls - 10
    one = [("shallow" if call % every else "deep", 8 if call < guided else 4) for call in range(calls)]
    assert seen == [*one, ("decode", 4)] * 2, "the second batch begins anew"


def test_guidance_that_begins_later_begins_with_a_whole_call():
    seen = []
    guidance = Guidance(4.0, 0.25, 0.75)
    paint(brush(steps=20, guidance=guidance, deepcache=2, calls=seen), [0] * 4, seed_of)
    assert [what == "deep" for what, _ in seen[:20]] == [call == 5 or call % 2 == 0 for call in range(20)]
    assert [rows for _, rows in seen[:20]] == [4] * 5 + [8] * 10 + [4] * 5


@pytest.mark.parametrize("every", [2, 3])
def test_every_image_is_given_its_own_feature(every):
    """The fake feature is all that the fake network says of a prompt: with its own, an image is as if all calls were whole."""
    conditions = [n % 5 for n in range(11)]
    plain = paint(brush(rows=4, steps=10), conditions, seed_of)
    for rows in (1, 4, 7):
        assert same(plain, paint(brush(rows=rows, steps=10, deepcache=every), conditions, seed_of))


# --- faults -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault, name", [("nan", "not finite"), ("inf", "not finite"), ("black", "black"), ("flat", "flat")])
def test_a_faulty_image_is_painted_again_from_its_sub_seed(marked, fault, name):
    calls, told = [], []
    spoil = {seed_of(2, 0): fault, seed_of(2, 1): fault, seed_of(7, 0): fault}
    painted = paint(brush(calls=calls, spoil=spoil), [0] * 9, seed_of, told.append)
    clean = paint(brush(), [0] * 9, seed_of)
    assert [p.attempt for p in painted] == [0, 0, 2, 0, 0, 0, 0, 1, 0]
    assert [p.seed for p in painted] == [seed_of(n, p.attempt) for n, p in enumerate(painted)]
    assert not any(p.fault for p in painted)
    assert all(same([painted[n]], [clean[n]]) for n in (0, 1, 3, 4, 5, 6, 8))
    assert sum(told) == 9, "a repeated image is not counted twice"
    assert [rows for what, rows in calls if what == "decode"] == [4] * 5


@pytest.mark.parametrize("fault, name", [("nan", "not finite"), ("black", "black"), ("flat", "flat")])
def test_an_image_that_stays_faulty_is_returned_with_its_fault(marked, fault, name):
    spoil = {seed_of(1, attempt): fault for attempt in range(MAX_ATTEMPTS)}
    painted = paint(brush(spoil=spoil), [0] * 3, seed_of)
    assert [p.fault for p in painted] == ["", name, ""]
    assert painted[1].attempt == MAX_ATTEMPTS - 1


def test_a_copy_is_painted_again_and_the_first_of_its_kind_is_kept(marked):
    painted = paint(brush(spoil={seed_of(1, 0): 77, seed_of(6, 0): 77}), [0] * 8, seed_of)
    assert [p.attempt for p in painted] == [0, 0, 0, 0, 0, 0, 1, 0] and not any(p.fault for p in painted)
    assert len({p.content.numpy().tobytes() for p in painted}) == 8


def test_an_image_that_stays_a_copy_has_a_fault(marked):
    spoil = {seed_of(1, 0): 77} | {seed_of(2, attempt): 77 for attempt in range(MAX_ATTEMPTS)}
    painted = paint(brush(spoil=spoil), [0] * 4, seed_of)
    assert [p.fault for p in painted] == ["", "", "duplicate", ""]


def test_the_same_seed_twice_is_a_copy():
    painted = paint(brush(), [0, 0], lambda place, attempt: 5)
    assert [p.fault for p in painted] == ["", "duplicate"]


def test_retries_do_not_depend_on_the_batch_size(marked):
    spoil = {seed_of(2, 0): "nan", seed_of(3, 0): 77, seed_of(9, 0): 77, seed_of(9, 1): "black"}
    one, many = (paint(brush(rows=rows, spoil=spoil), [0] * 11, seed_of) for rows in (1, 8))
    assert same(one, many) and [p.attempt for p in one] == [p.attempt for p in many]


def test_a_further_check_refuses_and_its_images_are_painted_again():
    seen = []

    def check(images, conditions):
        seen.append((tuple(images.shape), conditions))
        return torch.tensor([condition == 1 and len(seen) == 1 for condition in conditions])

    painted = paint(replace(brush(rows=4), checks={"odd": check}), [0, 1, 2], seed_of)
    assert [(p.attempt, p.fault) for p in painted] == [(0, ""), (1, ""), (0, "")]
    assert seen == [((3, 3, fakes.SIDE, fakes.SIDE), [0, 1, 2]), ((1, 3, fakes.SIDE, fakes.SIDE), [1])]


def test_the_first_reason_to_refuse_an_image_is_the_one_that_is_told(marked):
    checks = {
        "odd": lambda images, conditions: torch.tensor(conditions) > 0,
        "late": lambda images, conditions: images.amax((1, 2, 3)) >= 0,
    }
    spoil = {seed_of(0, attempt): "black" for attempt in range(MAX_ATTEMPTS)}
    painted = paint(replace(brush(spoil=spoil), checks=checks), [0, 1, 0], seed_of)
    assert [p.fault for p in painted] == ["black", "odd", "late"]


# --- latents ----------------------------------------------------------------------------------------------------
def latent_brush(spoil=None, **options):
    """Nothing is decoded. ``spoil`` maps seeds to what painting starts from: a number everywhere, or another seed's noise."""
    made = brush(texts=1, guidance=Guidance(1.0), **options)

    def starts(conditions, seeds):
        noise = resolver.gaussian_noise(seeds, (4, 8, 8))
        for row, seed in enumerate(seeds):
            if seed in (spoil or {}):
                given = spoil[seed]
                noise[row] = resolver.gaussian_noise([given], (4, 8, 8))[0] if isinstance(given, int) else given
        return noise

    return replace(made, starts=starts, decode=None)


def test_latents_are_kept_as_the_solver_leaves_them_in_half_precision():
    calls = []
    painted = paint(latent_brush(calls=calls), [0] * 5, seed_of)
    assert {what for what, _ in calls} == {"denoise"}
    clean = resolver.gaussian_noise([seed_of(n, 0) for n in range(5)], (4, 8, 8)) / fakes.LAST_SIGNAL**0.5
    assert all(p.content.dtype == torch.float16 and p.fault == "" for p in painted)
    torch.testing.assert_close(torch.stack([p.content for p in painted]), clean.half(), rtol=2e-3, atol=2e-3)
    assert same(painted, paint(latent_brush(rows=1), [0] * 5, seed_of))


@pytest.mark.parametrize("start, fault", [(float("nan"), "not finite"), (1e6, "not finite"), (0.3, "flat")])
def test_faulty_latents_are_painted_again(start, fault):
    once = paint(latent_brush({seed_of(1, 0): start}), [0] * 3, seed_of)
    assert [(p.attempt, p.fault) for p in once] == [(0, ""), (1, ""), (0, "")]
    always = paint(latent_brush({seed_of(1, attempt): start for attempt in range(MAX_ATTEMPTS)}), [0] * 3, seed_of)
    assert [p.fault for p in always] == ["", fault, ""]


def test_dark_latents_are_not_black_and_copies_are_painted_again():
    assert not any(p.fault for p in paint(latent_brush({1: resolver.gaussian_noise([1], (4, 8, 8))[0] - 50}), [0], seed_of))
    assert [p.attempt for p in paint(latent_brush({seed_of(2, 0): seed_of(0, 0)}), [0] * 3, seed_of)] == [0, 0, 1]


# --- the device never waits -------------------------------------------------------------------------------------
class Copies(TorchDispatchMode):
    """Copies from the host to the device, and whether the host waits in them."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, call, types, given=(), options=None):
        options = options or {}
        found = call(*given, **options)
        if call is torch.ops.aten._to_copy.default and given[0].device != found.device:
            self.waits.append(not options.get("non_blocking"))
        return found


def on_meta(solver):
    """A brush on a device that has shapes and no values: whoever reads one fails."""
    made = brush(solver=solver)
    plain = made.networks
    networks = replace(plain, denoise=lambda latents, timesteps, text: latents * 0.5 + text[:, :1, :1, None], device="meta")
    decode = lambda latents: latents[:, :3].repeat_interleave(2, 2).repeat_interleave(2, 3)  # noqa: E731
    onto = lambda resolve: lambda conditions, seeds: upload(resolve(conditions, seeds), "meta")  # noqa: E731
    check = lambda images, conditions: images.float().mean((1, 2, 3)) > 3  # noqa: E731
    texts, starts, empty = onto(made.texts), onto(made.starts), made.empty.to("meta")
    return replace(made, networks=networks, decode=decode, texts=texts, starts=starts, empty=empty, checks={"odd": check})


@pytest.mark.parametrize("side", [fakes.SIDE, fakes.SIDE // 2])
@pytest.mark.parametrize("solver", SOLVERS)
def test_nothing_of_a_batch_is_read_before_it_is_collected(solver, side):
    painter = replace(on_meta(solver), image_px=side)
    for each in (painter, replace(painter, decode=None)):
        with Copies() as copies:
            pending = begin(each, [0, 1, 2], [7, 8, 9], 0)
        assert len(copies.waits) >= 2 and not any(copies.waits)
        with pytest.raises(RuntimeError, match="meta"):
            pending()


class Watched(torch.Tensor):
    """A tensor that tells when the host reads it, or what was made of it."""

    log = ()
    READS = (torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.item, torch.Tensor.cpu, torch.Tensor.__bool__)

    @classmethod
    def __torch_function__(cls, call, types, given=(), options=None):
        if call in cls.READS:
            cls.log.append("read")
        return super().__torch_function__(call, types, given, options or {})


def test_the_next_batch_is_under_way_before_the_host_reads_the_one_before(monkeypatch):
    monkeypatch.setattr(Watched, "log", log := [])
    plain = brush(rows=2)

    def decode(latents):
        log.append("decode")
        return plain.decode(latents).as_subclass(Watched)

    painted = paint(replace(plain, decode=decode), [0] * 7, seed_of)
    first_reads = [event for n, event in enumerate(log) if event == "decode" or log[n - 1] != "read"]
    assert first_reads == ["decode", "decode", "read", "decode", "read", "decode", "read"]
    assert same(painted, paint(plain, [0] * 7, seed_of))


# --- seeds ------------------------------------------------------------------------------------------------------
def test_a_seed_is_a_hash_of_all_that_the_image_is():
    base = (0, "circle", "a photo of an oval", 3, 0)
    seeds = {image_seed(*base)}
    for place, other in enumerate((1, "ring", "a photo of a ring", 4, 1)):
        seeds.add(image_seed(*base[:place], other, *base[place + 1 :]))
    assert len(seeds) == 6 and all(0 <= seed < 2**53 for seed in seeds)
    assert image_seed(*base) == 1467004484692656, "no release may change it: shards would not go on"
