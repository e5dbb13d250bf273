package dev.forkd.testkit;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.PoolView;
import dev.forkd.engine.Pools;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;

/** Pools of a {@link FakeEngine}: settings that are kept, and full at once. */
final class FakePools implements Pools {
  private final FakeEngine engine;
  private final Map<String, PoolView> pools = new ConcurrentSkipListMap<>();

  FakePools(FakeEngine engine) {
    this.engine = engine;
  }

  @Override
  public List<PoolView> list() {
    return List.copyOf(pools.values());
  }

  @Override
  public PoolView get(Tag tag) {
    var _ = engine.snapshot(tag);
    return pools.getOrDefault(tag.value(), new PoolView(tag, 0, false, 0, 0));
  }

  @Override
  public PoolView set(Tag tag, int size, boolean prewarm) {
    var _ = engine.snapshot(tag);
    if (size < 0 || size > MAX_SIZE) {
      throw new ForkdException(ErrorCode.INVALID_ARGUMENT, "size is " + size);
    }
    PoolView view = new PoolView(tag, size, prewarm, size, 0);
    if (size == 0) {
      pools.remove(tag.value());
    } else {
      pools.put(tag.value(), view);
    }
    return view;
  }
}
