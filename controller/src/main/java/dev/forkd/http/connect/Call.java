package dev.forkd.http.connect;

import dev.forkd.http.Cut;
import dev.forkd.http.Head;
import java.time.Duration;
import java.util.Optional;

/**
 * What a handler may want to know of a call besides its message.
 *
 * @param timeout after which the client no longer wants the answer
 * @param cut tells that nobody waits for the answer any more: the sandbox stopped, the time is up,
 *     or the client went away
 */
public record Call(Head head, Optional<Duration> timeout, Cut cut) {}
