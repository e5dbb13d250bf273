package dev.forkd.testkit;

import dev.forkd.fault.FaultPoint;
import dev.forkd.state.StateStore;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;

/** A state store each of whose methods is a step, {@code store.} and its name, that can fail. */
public final class FaultyStore {
  private FaultyStore() {}

  /** {@code store}, as long as {@code faults} lets it. */
  public static StateStore of(StateStore store, FaultPoint faults) {
    return (StateStore)
        Proxy.newProxyInstance(
            StateStore.class.getClassLoader(),
            new Class<?>[] {StateStore.class},
            (_, method, arguments) -> {
              faults.reach("store." + method.getName());
              try {
                return method.invoke(store, arguments);
              } catch (InvocationTargetException e) {
                throw e.getCause();
              }
            });
  }
}
