package dev.forkd.http.proxy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.HostedView;
import dev.forkd.http.ClientGoneException;
import dev.forkd.http.Cut;
import dev.forkd.http.CutOffException;
import dev.forkd.http.Exchange;
import dev.forkd.http.Failures;
import dev.forkd.http.Head;
import dev.forkd.http.Surface;
import dev.forkd.http.envd.Access;
import dev.forkd.http.envd.Envd;
import dev.forkd.http.envd.Guest;
import dev.forkd.http.envd.RestFailure;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import java.time.InstantSource;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Requests to what is inside a sandbox. Whatever is under way is cut the moment its sandbox stops:
 * for clients an answer that breaks off, and 502 from then on, is how a sandbox ends.
 */
public final class Gateway implements Surface {
  private static final HeaderName ANY_ORIGIN = HeaderNames.ACCESS_CONTROL_ALLOW_ORIGIN;

  private final ForkdEngine engine;
  private final String daemonToken;
  private final Access access;
  private final Envd envd;
  private final Set<Cut> lasting = ConcurrentHashMap.newKeySet();

  /**
   * A gateway.
   *
   * @param daemonToken opens all sandboxes that are not hosted
   */
  public Gateway(ForkdEngine engine, String daemonToken, InstantSource clock) {
    this.engine = engine;
    this.daemonToken = daemonToken;
    this.access = new Access(clock);
    this.envd = new Envd(clock);
  }

  @Override
  public boolean takes(Head head) {
    return Address.isMeantBy(head) || Access.isSigned(head);
  }

  @Override
  public String serve(Exchange exchange) {
    String route = "none";
    String id = "";
    try {
      Address address = address(exchange);
      id = address.id();
      if (address.port() == Envd.PORT) {
        exchange.header(ANY_ORIGIN, "*");
        if (exchange.method().equals("OPTIONS")) {
          return preflight(exchange);
        }
      }
      route = serve(exchange, address);
    } catch (RestFailure e) {
      answer(exchange, e, e.status(), Refusals.body(e));
    } catch (CutOffException e) {
      answer(exchange, e, Refusals.GONE, Refusals.noSandbox(id));
    } catch (NoSandboxException e) {
      answer(exchange, e, Refusals.GONE, Refusals.noSandbox(e.id()));
    } catch (ClosedPortException e) {
      answer(exchange, e, Refusals.GONE, Refusals.closedPort(e.address()));
    } catch (ForkdException e) {
      Failures.Rendered told = Failures.render(e, exchange.requestId());
      told.retryAfterSeconds()
          .ifPresent(seconds -> exchange.header(HeaderNames.RETRY_AFTER, "" + seconds));
      int status = Refusals.status(e);
      answer(exchange, e, status, Refusals.body(status, told.message()));
    } catch (ClientGoneException e) {
      throw e;
    } catch (RuntimeException e) {
      // What nobody has foreseen has the shape that clients know, too.
      Failures.Rendered told = Failures.render(e, exchange.requestId());
      answer(exchange, e, told.status(), Refusals.body(told.status(), told.message()));
    }
    return route;
  }

  /** An answer that has begun is left to break off. */
  private static void answer(
      Exchange exchange, RuntimeException failure, int status, Map<String, Object> body) {
    if (exchange.started()) {
      throw failure;
    }
    exchange.json(status, body);
  }

  /** Browsers ask first. Secrets are in headers that no page can know, so any page may. */
  private static String preflight(Exchange exchange) {
    exchange.header(HeaderNames.ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS");
    exchange.header(
        HeaderNames.ACCESS_CONTROL_ALLOW_HEADERS,
        exchange.header(HeaderNames.ACCESS_CONTROL_REQUEST_HEADERS).orElse("*"));
    exchange.header(HeaderNames.ACCESS_CONTROL_MAX_AGE, "7200");
    exchange.empty(204);
    return "OPTIONS";
  }

  /** A signed link without an address is for the sandbox with whose token it was signed. */
  private Address address(Head head) {
    if (Address.isMeantBy(head)) {
      return Address.of(head);
    }
    return engine.hosted().list().stream()
        .filter(view ->
            view.accessToken().filter(token -> Access.isSignedWith(head, token)).isPresent())
        .map(HostedView::id)
        .findFirst()
        .map(id -> new Address(id, Envd.PORT))
        .orElseThrow(() -> new ForkdException(ErrorCode.UNAUTHENTICATED, "invalid signature"));
  }

  private Target target(Head head, Address address) {
    Target target =
        Target.find(engine, daemonToken, address.id())
            .orElseThrow(() -> new NoSandboxException(address.id()));
    target.check(head, address.port(), access);
    return target;
  }

  private static Guest awake(Target target, Head head) {
    try {
      return target.awake(head);
    } catch (ForkdException e) {
      if (e.code() == ErrorCode.NOT_FOUND) {
        throw new NoSandboxException(target.id());
      }
      throw e;
    }
  }

  private String serve(Exchange exchange, Address address) {
    Target target = target(exchange, address);
    if (target.isShown(exchange)) {
      exchange.authenticated();
    }
    exchange.countedFor(address.id());
    Guest guest = awake(target, exchange);
    Cut cut = exchange.cut();
    boolean lasts = address.port() != Envd.PORT || Envd.lasts(exchange);
    if (lasts) {
      lasting.add(cut);
    }
    try (Cut.Standing _ = guest.stops().on(cut::cut)) {
      if (address.port() == Envd.PORT) {
        return envd.serve(exchange, guest);
      }
      new PortRelay(exchange, target, new Ports(guest, address, cut)).run();
      return "port";
    } finally {
      lasting.remove(cut);
    }
  }

  @Override
  public Optional<Takeover> upgrade(Head head, Cut cut) {
    try {
      Address address = address(head);
      if (address.port() == Envd.PORT) {
        return Optional.empty();
      }
      Target target = target(head, address);
      Guest guest = awake(target, head);
      return Optional.of((in, out) -> {
        lasting.add(cut);
        try (Cut.Standing _ = guest.stops().on(cut::cut)) {
          return new UpgradeRelay(head, target, new Ports(guest, address, cut)).run(in, out, cut);
        } finally {
          lasting.remove(cut);
        }
      });
    } catch (ForkdException | RestFailure | NoSandboxException e) {
      return Optional.empty(); // It is told why when it is served as any other.
    }
  }

  @Override
  public void close() {
    lasting.forEach(Cut::cut);
    envd.close();
  }
}
