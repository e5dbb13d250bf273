package dev.forkd.controller;

import dev.forkd.http.ServerConfig;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;

/**
 * What a daemon is told.
 *
 * @param tokenFile the data directory's own, made when missing, if empty
 * @param auditLog the data directory's own if empty
 * @param domain what sandboxes' host names end with, as E2B's clients are told; may have a port
 * @param queueMax requests that may wait for a core
 * @param idleExit end after so long without a request; never if empty
 */
record DaemonConfig(
    InetSocketAddress bind,
    Path dataDir,
    Optional<Path> tokenFile,
    Optional<ServerConfig.TlsFiles> tls,
    Optional<Path> auditLog,
    int branchConcurrency,
    boolean background,
    Optional<Duration> idleExit,
    boolean killOnExit,
    int queueMax,
    Optional<String> domain) {}
