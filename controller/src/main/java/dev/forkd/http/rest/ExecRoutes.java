package dev.forkd.http.rest;

import dev.forkd.api.SandboxId;
import dev.forkd.api.rest.EvalRequest;
import dev.forkd.api.rest.EvalResponse;
import dev.forkd.api.rest.ExecRequest;
import dev.forkd.api.rest.ExecResponse;
import dev.forkd.engine.EvalResult;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.ExecResult;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.http.Exchange;
import dev.forkd.http.HeapBudget;
import dev.forkd.http.Route;
import dev.forkd.metrics.Meters;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.LongSupplier;

/** Commands that are run to their end, and evaluations. */
final class ExecRoutes {
  private final ForkdEngine engine;
  private final Meters meters;
  private final LongSupplier nanoClock;
  private final HeapBudget budget = HeapBudget.forResults();

  ExecRoutes(ForkdEngine engine, Meters meters, LongSupplier nanoClock) {
    this.engine = engine;
    this.meters = meters;
    this.nanoClock = nanoClock;
  }

  List<Route> routes() {
    return List.of(
        new Route("POST", "/v1/sandboxes/{id}/exec", this::exec),
        new Route("POST", "/v1/sandboxes/{id}/eval", this::eval));
  }

  private void exec(Exchange exchange) {
    SandboxId id = exchange.sandboxId();
    ExecSpec spec = spec(exchange.body(ExecRequest.class), false);
    long beginNanos = nanoClock.getAsLong();
    try (HeapBudget.Share client = budget.share(exchange)) {
      ExecResult result;
      try {
        result = engine.exec(id, spec, client);
      } finally {
        meters.executed(since(beginNanos));
      }
      exchange.json(
          200,
          new ExecResponse(
              new String(result.stdout(), StandardCharsets.UTF_8),
              new String(result.stderr(), StandardCharsets.UTF_8),
              result.exit().shellStatus(),
              signal(result.exit()),
              result.exit() instanceof ExecExit.TimedOut ? Optional.of(true) : Optional.empty(),
              result.truncated() ? Optional.of(true) : Optional.empty(),
              result.wallMillis(),
              guestPid(result.exit())),
          result.stdout().length + result.stderr().length);
    }
  }

  private void eval(Exchange exchange) {
    SandboxId id = exchange.sandboxId();
    EvalRequest body = exchange.body(EvalRequest.class);
    long beginNanos = nanoClock.getAsLong();
    try (HeapBudget.Share client = budget.share(exchange)) {
      EvalResult result;
      try {
        result = engine.eval(id, body.code(), Checks.timeout(body.timeoutSecs()), client);
      } finally {
        meters.evaluated(since(beginNanos));
      }
      exchange.json(
          200,
          new EvalResponse(
              result.result(),
              result.error(),
              result.error().isPresent() ? 1 : 0,
              result.traceback(),
              result.stdout(),
              result.wallMillis()),
          result.result().map(String::length).orElse(0) + result.stdout().length());
    }
  }

  private Duration since(long beginNanos) {
    return Duration.ofNanos(nanoClock.getAsLong() - beginNanos);
  }

  static OptionalInt signal(ExecExit exit) {
    return exit instanceof ExecExit.Signalled(int number)
        ? OptionalInt.of(number)
        : OptionalInt.empty();
  }

  static OptionalInt guestPid(ExecExit exit) {
    return exit instanceof ExecExit.Background(int pid) ? OptionalInt.of(pid) : OptionalInt.empty();
  }

  /** What the body asks for, checked. */
  static ExecSpec spec(ExecRequest body, boolean interactive) {
    if (body.args().isEmpty()) {
      throw Checks.invalid("args must contain at least one element");
    }
    body.args().forEach(arg -> Checks.noNul("args", arg));
    if (body.args().getFirst().isEmpty()) {
      throw Checks.invalid("the first element of args, the program, is empty");
    }
    body.env()
        .forEach((name, value) -> {
          if (name.isEmpty() || name.indexOf('=') >= 0) {
            throw Checks.invalid(
                "env has the name '" + name + "'; a name is not empty and has no '='");
          }
          Checks.noNul("env", name);
          Checks.noNul("env", value);
        });
    body.cwd().ifPresent(cwd -> Checks.guestPath("cwd", cwd));
    body.user()
        .ifPresent(user -> {
          if (user.isEmpty()) {
            throw Checks.invalid("user is empty; leave it out to run as root");
          }
          Checks.noNul("user", user);
        });
    return new ExecSpec(
        body.args(),
        body.env(),
        body.cwd(),
        body.user(),
        stdin(body),
        interactive,
        Checks.timeout(body.timeoutSecs()),
        body.background(),
        ExecSpec.DEFAULT_OUTPUT_LIMIT_BYTES);
  }

  private static byte[] stdin(ExecRequest body) {
    if (body.stdin().isPresent() && body.stdinBase64().isPresent()) {
      throw Checks.invalid("send stdin or stdin_base64, not both");
    }
    if (body.stdinBase64().isPresent()) {
      try {
        return Base64.getDecoder().decode(body.stdinBase64().get());
      } catch (IllegalArgumentException e) {
        throw Checks.invalid("stdin_base64 is not base64: " + e.getMessage());
      }
    }
    return body.stdin().map(text -> text.getBytes(StandardCharsets.UTF_8)).orElse(new byte[0]);
  }
}
