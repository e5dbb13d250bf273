package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate.Service;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.ProcessSpec;
import dev.forkd.engine.ProcessStream;
import dev.forkd.guest.GuestAgent;
import dev.forkd.guest.Rehearsals;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.atomic.AtomicBoolean;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;

/**
 * What is started in a guest when it boots. It is written into the guest: its disk may be booted
 * again when nobody knows any more which template it comes from.
 */
final class BootServices {
  private static final String LIST = "/etc/forkd/services.json";
  private static final int LIST_BYTES_MAX = 65536;
  private static final int SERVICES_MAX = 16;
  private static final Duration CALL_TIMEOUT = Duration.ofSeconds(60);
  private static final Duration INTERVAL = Duration.ofSeconds(1);
  private static final JsonMapper JSON = JsonMapper.shared();

  private BootServices() {}

  static void write(GuestAgent agent, List<Service> services) {
    if (!services.isEmpty()) {
      byte[] list = JSON.writeValueAsBytes(services.toArray(Service[]::new));
      agent
          .files()
          .write(LIST, new ByteArrayInputStream(list), OptionalInt.of(0644), Optional.empty());
    }
  }

  /**
   * What is to be started in this guest.
   *
   * @throws ForkdException FAILED_PRECONDITION when the guest's list cannot be understood
   */
  static List<Service> read(GuestAgent agent) {
    ByteArrayOutputStream list = new ByteArrayOutputStream();
    try {
      agent.files().read(LIST, new dev.forkd.engine.GuestFiles.Range(0, LIST_BYTES_MAX), list);
      List<Service> services = List.of(JSON.readValue(list.toByteArray(), Service[].class));
      if (services.size() > SERVICES_MAX || services.stream().anyMatch(BootServices::isPartial)) {
        throw unusable("it is too long, or a service lacks something");
      }
      return services;
    } catch (JacksonException | NullPointerException e) {
      throw unusable(String.valueOf(e.getMessage()));
    } catch (ForkdException e) {
      if (e.code() == ErrorCode.NOT_FOUND) {
        return List.of();
      }
      throw e;
    }
  }

  @SuppressWarnings("ConstantValue") // A guest may have written anything.
  private static boolean isPartial(Service service) {
    return service.command() == null || service.user() == null || service.ready() == null;
  }

  private static ForkdException unusable(String why) {
    return new ForkdException(
        ErrorCode.FAILED_PRECONDITION, LIST + " of the guest cannot be used: " + why);
  }

  /** Starts it, to go on when nobody listens any more. */
  static void start(GuestAgent agent, Service service) {
    OutputTail output = new OutputTail();
    try (ProcessStream _ = agent.processes().start(process(service), output, () -> {})) {
      // It has been started when that returns.
    }
  }

  /**
   * Starts it and waits until it is ready.
   *
   * @param what it belongs to, for people
   * @throws ForkdException FAILED_PRECONDITION when it ends, or is not ready in time
   */
  static void startAndAwait(GuestAgent agent, Service service, Duration timeout, String what) {
    OutputTail output = new OutputTail();
    AtomicBoolean ended = new AtomicBoolean();
    try (ProcessStream _ =
        agent.processes().start(process(service), output, () -> ended.set(true))) {
      long deadline = System.nanoTime() + timeout.toNanos();
      while (!isReady(agent, service)) {
        if (ended.get() || System.nanoTime() > deadline) {
          throw new ForkdException(
              ErrorCode.FAILED_PRECONDITION,
              "the service of "
                  + what
                  + (ended.get() ? " has ended" : " is not ready in time")
                  + ": "
                  + output.text());
        }
        TemplateBoot.sleep(INTERVAL);
      }
    }
  }

  private static boolean isReady(GuestAgent agent, Service service) {
    return agent
        .exec(ExecSpec.of(List.of("sh", "-c", service.ready()), CALL_TIMEOUT).by("root"))
        .run(Rehearsals.NOBODY)
        .equals(new ExecExit.Exited(0));
  }

  private static ProcessSpec process(Service service) {
    return new ProcessSpec(
        List.of("/bin/bash", "-l", "-c", service.command()),
        Map.of(),
        Optional.empty(),
        Optional.of(service.user()),
        Optional.empty(),
        false,
        Optional.of("service"),
        Optional.empty());
  }
}
