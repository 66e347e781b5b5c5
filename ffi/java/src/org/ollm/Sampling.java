package org.ollm;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** How tokens are sampled. A field that is 0 takes its default, and all defaults together are greedy; see {@code ollm.h}. */
public final class Sampling {
    /** The filters of the sampler. */
    public enum Filter { PENALTIES, DRY, TOP_N_SIGMA, TOP_K, TYPICAL, TOP_P, MIN_P, XTC, TEMPERATURE }

    /** Sees and changes logits. */
    public interface Editor {
        /**
         * One logit for each token of the vocabulary, to be changed in place; negative infinity bans a token. What it throws
         * comes out of the call that generates.
         *
         * @param logits the logits
         * @param tokens the tokens so far
         */
        void edit(float[] logits, int[] tokens);
    }

    /** Keeps this many most probable tokens. */
    public int topK;
    /** The seed of all choices. */
    public long seed;
    /** The temperature; 0 is greedy. */
    public float temperature;
    /** Top-p (nucleus). */
    public float topP;
    /** Min-p. */
    public float minP;
    /** The repetition penalty. */
    public float repeatPenalty;
    /** The number of recent tokens that the penalties apply to. */
    public int repeatLast;
    /** The presence penalty. */
    public float presencePenalty;
    /** The frequency penalty. */
    public float frequencyPenalty;
    /** Typical sampling. */
    public float typicalP;
    /** Top-n-sigma. */
    public float topNSigma;
    /** XTC: the share of the steps in which it leaves tokens out. */
    public float xtcProbability;
    /** XTC: how probable these are at least. */
    public float xtcThreshold;
    /** DRY: what a repetition loses. */
    public float dryMultiplier;
    /** DRY: the base of its power. */
    public float dryBase;
    /** DRY: the shortest repetition that loses something. */
    public int dryAllowedLength;
    /** DRY: the number of recent tokens that it searches. */
    public int dryLast;
    /** DRY: texts that end a repetition; none takes the default. */
    public List<String> dryBreakers = List.of();
    /** Mirostat 2: the surprise that is aimed at, in bits. */
    public float mirostatTau;
    /** Mirostat 2: how fast it aims. */
    public float mirostatEta;
    /** Dynamic temperature: its range. */
    public float dynamicRange;
    /** Dynamic temperature: the power of the entropy. */
    public float dynamicExponent;
    /** What is added to the logits of tokens; negative infinity bans one. */
    public Map<Integer, Float> biases = Map.of();
    /** The filters that run, in this order; null is that of {@link Filter}. */
    public Filter[] order;
    /** Sees and changes the logits; may be null. */
    public Editor editor;
    /** With each token {@link Token#top} tells so many of the most probable ones. */
    public int logprobs;

    private int[] biasTokens = {};
    private float[] biasValues = {};

    /** Makes arrays of the biases, for C. */
    Sampling prepared() {
        Map<Integer, Float> sorted = new TreeMap<>(biases);
        biasTokens = new int[sorted.size()];
        biasValues = new float[sorted.size()];
        int i = 0;
        for (Map.Entry<Integer, Float> bias : sorted.entrySet()) {
            biasTokens[i] = bias.getKey();
            biasValues[i++] = bias.getValue();
        }
        return this;
    }
}
