package dev.forkd.controller;

import dev.forkd.api.ForkdVersion;
import dev.forkd.api.Threads;
import dev.forkd.engine.EngineConfig;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.RecoveryReport;
import dev.forkd.http.HttpServer;
import dev.forkd.http.Limits;
import dev.forkd.http.ServerConfig;
import dev.forkd.http.e2b.E2bApi;
import dev.forkd.http.proxy.Gateway;
import dev.forkd.http.rest.RestRoutes;
import dev.forkd.linux.ProcessIdentity;
import dev.forkd.metrics.Meters;
import dev.forkd.state.DataDir;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.LongSupplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A daemon that serves. It stops once: requests drain, the data directory's word about it goes
 * first so that nobody comes any more, the engine closes last. Any thread may stop it; all wait
 * until it is done.
 */
final class Daemon implements AutoCloseable {
  private static final Duration IDLE_POLL_INTERVAL = Duration.ofMillis(500);
  private static final Logger LOG = LoggerFactory.getLogger(Daemon.class);

  private final DaemonConfig config;
  private final DataDir dataDir;
  private final ForkdEngine engine;
  private final Meters meters;
  private final HttpServer server;
  private final DaemonFile daemonFile;
  private final CountDownLatch stopRequested = new CountDownLatch(1);
  private final ReentrantLock stopping = new ReentrantLock();
  private boolean stopped;

  private Daemon(
      DaemonConfig config, EngineOpener opener, InstantSource clock, LongSupplier nanoClock) {
    this.config = config;
    this.dataDir = DataDir.open(config.dataDir());
    Path tokenPath = config.tokenFile().orElse(dataDir.tokenFile());
    String token =
        config.tokenFile().isPresent()
            ? TokenFile.read(tokenPath)
            : TokenFile.readOrCreate(tokenPath);
    this.engine =
        new HandOver(dataDir, opener, nanoClock)
            .open(
                new EngineConfig(
                    dataDir.root(),
                    config.branchConcurrency(),
                    config.killOnExit(),
                    config.queueMax()),
                config.background());
    this.meters = new Meters(ForkdVersion.CURRENT);
    try {
      this.server =
          HttpServer.start(
              new ServerConfig(
                  config.bind(), token, config.auditLog().orElse(dataDir.auditLog()), config.tls()),
              RestRoutes.router(
                  engine, meters, nanoClock, ForkdVersion.CURRENT, stopRequested::countDown),
              List.of(
                  new Gateway(engine, token, clock),
                  new E2bApi(engine, token, config.domain(), clock)),
              meters,
              clock,
              nanoClock);
    } catch (RuntimeException e) {
      closeAfter(e);
      throw e;
    }
    ProcessIdentity self = ProcessIdentity.self();
    this.daemonFile =
        new DaemonFile(
            server.url(),
            self.pid(),
            self.startTicks(),
            tokenPath.toAbsolutePath().toString(),
            config.background(),
            ForkdVersion.CURRENT,
            server.certificate().map(DaemonFile::sha256));
    try {
      daemonFile.write(dataDir.daemonFile());
    } catch (RuntimeException e) {
      server.close();
      closeAfter(e);
      throw e;
    }
  }

  private void closeAfter(RuntimeException failure) {
    try {
      meters.close();
      engine.close();
    } catch (RuntimeException later) {
      failure.addSuppressed(later);
    }
  }

  /** Starts to serve; everything that was opened is closed again if that fails. */
  static Daemon start(
      DaemonConfig config, EngineOpener opener, InstantSource clock, LongSupplier nanoClock) {
    Daemon daemon = new Daemon(config, opener, clock, nanoClock);
    daemon.announce();
    if (config.idleExit().isPresent()) {
      Duration limit = config.idleExit().get();
      Threads.virtual("idle-exit", () -> daemon.watchIdleness(limit));
    }
    return daemon;
  }

  private void announce() {
    RecoveryReport recovery = engine.recovery();
    LOG.info(
        "forkd {} listens on {}; data in {}, token in {}",
        ForkdVersion.CURRENT,
        server.url(),
        dataDir.root(),
        daemonFile.tokenFile());
    if (!recovery.equals(RecoveryReport.empty())) {
      LOG.info(
          "recovered: {} sandboxes adopted, {} operations settled, {} leftovers removed",
          recovery.adopted().size(),
          recovery.settled().size(),
          recovery.reaped().size());
    }
    InetSocketAddress bind = config.bind();
    if (config.tls().isEmpty() && !bind.getAddress().isLoopbackAddress()) {
      LOG.warn(
          "{} can be reached from other hosts and the token travels in the clear; use --tls-cert"
              + " and --tls-key",
          bind);
    }
  }

  private void watchIdleness(Duration limit) {
    try {
      while (!stopRequested.await(
          IDLE_POLL_INTERVAL.toMillis(), java.util.concurrent.TimeUnit.MILLISECONDS)) {
        // The ends of hosted sandboxes are kept by this process alone.
        if (!hasEndsToKeep() && server.activity().closeIfIdle(limit)) {
          LOG.info("idle for {} s", limit.toSeconds());
          stopRequested.countDown();
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private boolean hasEndsToKeep() {
    return engine.hosted().list().stream().anyMatch(hosted -> !hosted.paused());
  }

  String url() {
    return server.url();
  }

  /** Waits until a client or idleness asks the daemon to stop. */
  void awaitStopRequest() throws InterruptedException {
    stopRequested.await();
  }

  /** Stops; returns when all is closed. */
  @Override
  public void close() {
    stopRequested.countDown();
    stopping.lock();
    try {
      if (stopped) {
        return;
      }
      stopped = true;
      LOG.info("stopping");
      daemonFile.remove(dataDir.daemonFile());
      try {
        server.stop(Limits.DRAIN_TIMEOUT);
      } finally {
        meters.close();
        engine.close();
      }
      LOG.info("stopped");
    } finally {
      stopping.unlock();
    }
  }
}
