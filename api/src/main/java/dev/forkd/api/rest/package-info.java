/**
 * What goes over the wire of the REST interface: one record per message, and the codec. Names on
 * the wire are the component names in snake case. An empty {@link java.util.Optional} is left out
 * unless the component says otherwise; unknown fields are ignored in both directions.
 */
@NullMarked
package dev.forkd.api.rest;

import org.jspecify.annotations.NullMarked;
