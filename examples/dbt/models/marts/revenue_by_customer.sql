-- A field of the record, and one that is split by type: both are columns of the staging model.
select
    orders__customer__name as customer,
    count(distinct _sdc_source_key_id) as orders,
    sum(quantity) as pieces,
    sum(quantity * price) as revenue
from {{ ref('stg_shop__orders__items') }}
group by orders__customer__name
